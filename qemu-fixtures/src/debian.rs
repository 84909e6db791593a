//! The `debian` guest: a real systemd userland on an ext4 root, as most guests in the field are.
//!
//! getty on the console (a `login:` prompt), Debian's default SysRq mask (438), cron, the QEMU guest
//! agent, labels from a service each second and from cron each minute. The image is made once by
//! mmdebstrap from this machine's own apt source and cached; guests write to a throw-away overlay.
//!
//! It boots one of the fixtures' kernels: a few lines of shell in the fixtures' initramfs load the
//! drivers and switch to the root.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, sha256};
use crate::initramfs::Initramfs;
use crate::qemu::{Builder, Disk, Memory, Source};

/// Root's password.
pub const PASSWORD: &str = "vmward";
/// What the console says when the guest is up.
pub const LOGIN: &str = "login:";
/// The guest agent's socket in the guest's folder.
pub const AGENT_SOCKET: &str = "qga.sock";

const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd-sysv,udev,dbus,cron,kmod,procps,qemu-guest-agent";
const KERNEL: &str = "amd64-6.1";
const SIZE: &str = "1G";

/// Files of the image: path, text.
const FILES: [(&str, &str); 5] = [
    ("etc/hostname", "debian\n"),
    (
        // A label each second, by the kernel log, which the console shows.
        "etc/systemd/system/app.service",
        "[Unit]\nDescription=Application\n[Service]\nExecStart=/bin/sh -c 'n=0; while sleep 1; do n=$$((n+1)); \
         echo \"<6>app: label $$n\" >/dev/kmsg; done'\n[Install]\nWantedBy=multi-user.target\n",
    ),
    ("etc/cron.d/app", "* * * * * root /usr/bin/logger -t app -p user.notice \"label from cron\"\n"),
    (
        // What cron logs comes to the console as well.
        "etc/systemd/journald.conf.d/console.conf",
        "[Journal]\nForwardToKMsg=yes\nMaxLevelKMsg=notice\n",
    ),
    ("etc/fstab", ""),
];

/// Run as PID 1 by the initramfs's shell.
const TO_ROOT: &str = "b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod $module; done </etc/modules
n=0
while [ ! -e /dev/vda ] && [ $n -lt 100 ]; do n=$((n+1)); $b sleep 0.1; done
$b mount -t ext4 /dev/vda /mnt || $b reboot -f
$b umount /proc /sys /dev
exec $b switch_root /mnt /sbin/init
";

/// The `debian` guest: 1 vCPU, 512 MiB, ready when the console asks for a login.
///
/// # Errors
/// When the image cannot be made: mmdebstrap or mke2fs missing, or no network the first time.
pub fn guest(name: &str) -> Result<Builder> {
    let cache = Cache::open()?;
    let root = image(&cache)?;
    let kernel = cache.kernel(KERNEL)?;
    let script = cache.entry(&format!("debian/to-root-{}", &sha256(TO_ROOT.as_bytes())[..16]), |path| {
        Ok(fs::write(path, TO_ROOT)?)
    })?;
    let initrd = Initramfs::patient(&kernel).file("etc/to-root", &script)?.build(&cache)?;
    Ok(Builder::q35(name)
        .memory(Memory::memfd(512))
        .kernel(kernel.vmlinuz, initrd)
        // What follows `--` are the shell's arguments.
        .append("console=ttyS0 rdinit=/bin/sh -- /etc/to-root")
        .disk(Disk::new("vda", Source::Overlay(root)))
        .serial_port("org.qemu.guest_agent.0", AGENT_SOCKET)
        .vmcoreinfo()
        .pvpanic()
        .ready_when(LOGIN, Duration::from_secs(240)))
}

/// The root image, from the cache or made now.
///
/// # Errors
/// As for [`guest`].
pub fn image(cache: &Cache) -> Result<PathBuf> {
    let mut all = [SUITE, PACKAGES, SIZE, PASSWORD].concat();
    for (path, text) in FILES {
        all += path;
        all += text;
    }
    cache.entry(&format!("debian/root-{}.img", &sha256(all.as_bytes())[..16]), make)
}

fn make(image: &Path) -> Result<()> {
    // In the temporary folder and open to all: without root, mmdebstrap works as another user.
    let work = tempfile::tempdir()?;
    fs::set_permissions(work.path(), Permissions::from_mode(0o777))?;
    let overlay = work.path().join("files");
    for (path, text) in FILES {
        let path = overlay.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&overlay))?;
        fs::write(path, text)?;
    }
    let made = work.path().join("root.img");
    let mut copy = OsString::from("--customize-hook=cp -r --no-preserve=ownership ");
    copy.push(overlay.join("."));
    copy.push(" \"$1\"");
    // /proc and /sys are mounted in there while hooks run; a plain bind mount leaves them out.
    let mut pack = OsString::from(
        "--customize-hook=view=$(mktemp -d) && mount --bind \"$1\" \"$view\" && \
         mke2fs -q -t ext4 -L root -d \"$view\" '",
    );
    pack.push(&made);
    pack.push(format!("' {SIZE} && umount \"$view\" && rmdir \"$view\""));
    // mke2fs is in /usr/sbin, which is not in everybody's PATH.
    let tools = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Retries \"3\""])
        // The folder is thrown away when the machine loses power: dpkg need not sync each file.
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={PACKAGES}"))
        .arg(copy)
        .arg(format!("--customize-hook=echo root:{PASSWORD} | chroot \"$1\" chpasswd"))
        .arg("--customize-hook=chroot \"$1\" systemctl enable app.service")
        .arg("--customize-hook=rm -rf \"$1\"/var/cache/apt \"$1\"/var/lib/apt/lists \"$1\"/usr/share/doc")
        .arg(pack)
        .args([SUITE, "/dev/null"])
        .env("PATH", tools)
        .env("LC_ALL", "C")
        .output()
        .context("cannot run mmdebstrap: install the package mmdebstrap")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stderr.lines().rev().take(12).collect();
        bail!("mmdebstrap failed: {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    fs::copy(&made, image).context("mke2fs made no image")?;
    Ok(())
}
