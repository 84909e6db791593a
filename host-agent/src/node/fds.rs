//! The open files of a process, from `/proc/PID/fd` and `/proc/PID/fdinfo`, without touching a file
//! system: a link is read, its target never looked at, so that a dead NFS server behind it does no harm.

use std::io;

use serde::{Deserialize, Serialize};

use super::read;

/// Entries read at most.
const MAX_FDS: usize = 16 << 10;
/// Bytes of one fdinfo read at most.
const MAX_FDINFO: usize = 4 << 10;

/// One open file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd {
    /// Its number.
    pub fd: u32,
    /// What `/proc/PID/fd/N` points to (`/path`, `socket:[123]`, `anon_inode:[eventfd]`).
    pub link: String,
    /// `open(2)` flags.
    pub flags: u32,
    /// Mount that the file is on, as in `/proc/PID/mountinfo`.
    #[serde(default)]
    pub mount: Option<u32>,
    /// Network interface, for a descriptor of `/dev/net/tun` (`iff:`).
    #[serde(default)]
    pub interface: Option<String>,
}

impl Fd {
    /// Whether it was opened for writing only, as logs are.
    pub fn write_only(&self) -> bool {
        self.flags & 0o3 == 0o1
    }

    /// Whether it was opened for reading and writing.
    pub fn read_write(&self) -> bool {
        self.flags & 0o3 == 0o2
    }
}

/// Lists the open files of the process whose proc folder is `proc` (`/proc/123`). Blocking.
///
/// # Errors
/// As reading the folder: `PermissionDenied` for a process of another user without CAP_SYS_PTRACE.
pub fn list(proc: &str) -> io::Result<Vec<Fd>> {
    let mut fds = Vec::new();
    for entry in std::fs::read_dir(format!("{proc}/fd"))?.take(MAX_FDS) {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        // It may have been closed since the folder was read.
        let Ok(link) = std::fs::read_link(entry.path()) else { continue };
        let info = read::text(format!("{proc}/fdinfo/{fd}"), MAX_FDINFO).unwrap_or_default();
        fds.push(Fd { fd, link: link.to_string_lossy().into_owned(), ..parse_info(&info) });
    }
    fds.sort_by_key(|it| it.fd);
    Ok(fds)
}

fn parse_info(text: &str) -> Fd {
    let mut fd = Fd::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "flags" => fd.flags = u32::from_str_radix(value, 8).unwrap_or(0),
            "mnt_id" => fd.mount = value.parse().ok(),
            "iff" => fd.interface = Some(value.to_owned()).filter(|name| !name.is_empty()),
            _ => {}
        }
    }
    fd
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_file_of_our_own_is_listed_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = std::fs::File::create(&path).unwrap();
        let fds = list("/proc/self").unwrap();
        let ours = fds.iter().find(|it| i64::from(it.fd) == i64::from(file.as_raw_fd())).unwrap();
        assert_eq!(ours.link, path.to_str().unwrap());
        assert!(ours.write_only() && !ours.read_write() && ours.mount.is_some());
    }

    #[test]
    fn a_tap_is_known_by_its_interface() {
        // fdinfo of a tun descriptor: drivers/net/tun.c, tun_chr_show_fdinfo.
        let fd = parse_info("pos:\t0\nflags:\t0104002\nmnt_id:\t26\nino:\t130\niff:\tvnet3\n");
        assert_eq!(fd.interface.as_deref(), Some("vnet3"));
        assert!(fd.read_write());
        assert_eq!(fd.mount, Some(26));
    }
}
