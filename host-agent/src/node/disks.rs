//! Which files and devices a QEMU has open as disks, and what the host's block layer owes for them.
//!
//! No file behind a link is looked at: the mount of a file comes from `/proc/PID/mountinfo`, and what is
//! in flight from `/sys/dev/block/MAJOR:MINOR/inflight` (Documentation/ABI/stable/sysfs-block).

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::fds::Fd;
use super::read;

/// Disks listed at most.
const MAX_DISKS: usize = 256;
/// Bytes of one argument of the command line that are kept.
const MAX_ARGUMENT: usize = 300;

/// One line a disk. `cmdline` is `/proc/PID/cmdline`, which names network disks (NBD, iSCSI) that have
/// no file of their own. Blocking: looks at nodes below `/dev` and at `/sys`.
pub fn list(fds: &[Fd], mountinfo: &str, cmdline: &[u8], sys: &Path) -> Vec<String> {
    let mounts = mounts(mountinfo);
    let mut disks = Vec::new();
    for fd in fds.iter().filter(|it| may_be_disk(it)) {
        let mode = if fd.read_write() { "read-write" } else { "read-only" };
        let (device, kind) = if fd.link.starts_with("/dev/") {
            let Ok(meta) = std::fs::metadata(&fd.link) else { continue };
            if !meta.file_type().is_block_device() {
                continue;
            }
            (Some(device_number(meta.rdev())), "block device".to_owned())
        } else {
            match fd.mount.and_then(|id| mounts.get(&id)) {
                Some(mount) => (Some(mount.device.clone()), format!("file on {}", mount.kind)),
                None => (None, "file".to_owned()),
            }
        };
        let flight = device.and_then(|it| in_flight(sys, &it)).unwrap_or_default();
        disks.push(format!("{} (fd {}, {mode}, {kind}{flight})", fd.link.escape_default(), fd.fd));
    }
    disks.extend(network_disks(cmdline));
    disks.truncate(MAX_DISKS);
    disks
}

fn may_be_disk(fd: &Fd) -> bool {
    const NOT: [&str; 6] = ["/proc/", "/sys/", "/memfd:", "/dev/null", "/dev/shm/", "/dev/net/"];
    fd.link.starts_with('/') && !fd.write_only() && !NOT.iter().any(|it| fd.link.starts_with(it))
}

struct Mount {
    device: String,
    kind: String,
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw` (proc_pid_mountinfo(5))
fn mounts(text: &str) -> HashMap<u32, Mount> {
    let mut found = HashMap::new();
    for line in text.lines().take(16 << 10) {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut words = left.split_ascii_whitespace();
        let (Some(Ok(id)), Some(device)) = (words.next().map(str::parse), words.nth(1)) else { continue };
        let Some(kind) = right.split_ascii_whitespace().next() else { continue };
        found.insert(id, Mount { device: device.to_owned(), kind: kind.to_owned() });
    }
    found
}

fn device_number(rdev: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev))
}

fn in_flight(sys: &Path, device: &str) -> Option<String> {
    let digits = |c: char| c.is_ascii_digit() || c == ':';
    if !device.chars().all(digits) {
        return None;
    }
    let text = read::text(sys.join("dev/block").join(device).join("inflight"), 256).ok()?;
    let mut counts = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (Some(Ok(reads)), Some(Ok(writes))) = (counts.next(), counts.next()) else { return None };
    Some(format!(", {device} has {reads} reads and {writes} writes in flight"))
}

/// Arguments of `-drive`, `-blockdev` and the like that name a network protocol.
fn network_disks(cmdline: &[u8]) -> Vec<String> {
    const PROTOCOLS: [&str; 10] = [
        "driver=nbd",
        "nbd:",
        "nbd+unix:",
        "\"nbd\"",
        "iscsi:",
        "rbd:",
        "\"rbd\"",
        "ssh:",
        "gluster",
        "nvme:",
    ];
    let mut found = Vec::new();
    let mut is_disk = false;
    for argument in cmdline.split(|b| *b == 0).take(4096) {
        let text =
            String::from_utf8_lossy(argument.get(..argument.len().min(MAX_ARGUMENT)).unwrap_or(argument));
        if is_disk && PROTOCOLS.iter().any(|it| text.contains(it)) {
            found.push(format!("{} (from the command line)", text.escape_default()));
        }
        let option = text.trim_start_matches('-');
        is_disk = text.starts_with('-')
            && matches!(option, "drive" | "blockdev" | "hda" | "hdb" | "hdc" | "hdd" | "cdrom");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd(fd: u32, link: &str, flags: u32) -> Fd {
        Fd { fd, link: link.into(), flags, mount: Some(36), interface: None }
    }

    #[test]
    fn images_are_listed_with_what_their_host_disk_owes_and_logs_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let block = dir.path().join("dev/block/98:0");
        std::fs::create_dir_all(&block).unwrap();
        std::fs::write(block.join("inflight"), "       3        1\n").unwrap();
        let mountinfo = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\nbroken\n";
        let fds = [
            fd(9, "/srv/a b.img", 0o2),
            fd(1, "/var/log/qemu.log", 0o1),
            fd(3, "socket:[1]", 0o2),
            fd(4, "/memfd:memory-backend-memfd (deleted)", 0o2),
        ];
        assert_eq!(
            list(&fds, mountinfo, b"", dir.path()),
            ["/srv/a b.img (fd 9, read-write, file on ext3, 98:0 has 3 reads and 1 writes in flight)"]
        );
    }

    #[test]
    fn a_network_disk_is_known_from_the_command_line() {
        let cmdline = b"qemu\0-name\0nbd:x\0-drive\0driver=nbd,server.type=unix,server.path=/run/n\0-m\x0064";
        assert_eq!(
            list(&[], "", cmdline, Path::new("/nonexistent")),
            ["driver=nbd,server.type=unix,server.path=/run/n (from the command line)"]
        );
    }
}
