//! The initramfs of a fixture guest: the patient, a static busybox and the modules that the kernel needs.
//!
//! The archive format is "newc" cpio, see `Documentation/driver-api/early-userspace/buffer-format.rst`
//! in the kernel tree. Owners and times are zero, so equal contents give equal bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cache::{Cache, sha256};
use crate::kernels::{Kernel, Modules};
use crate::patient;

/// What a patient may meet in QEMU. Drivers that are built in or not there are left out.
const MODULES: [&str; 15] = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "ext4",
    "fuse",
    "qemu_fw_cfg",
    "i6300esb",
    "pvpanic",
    "pvpanic_pci",
    "pvpanic_mmio",
    "virtio_rng",
    "virtio_balloon",
    "vmw_vsock_virtio_transport",
    "virtio_net",
];

/// The folders that PID 1 mounts on, and that the faults use.
const FOLDERS: [&str; 11] =
    ["bin", "data", "dev", "etc", "mnt", "modules", "proc", "root", "run", "sys", "tmp"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// An initramfs to build.
#[derive(Debug)]
pub struct Initramfs {
    kernel: Kernel,
    more_modules: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Initramfs {
    /// One that boots `kernel` into the patient.
    #[must_use]
    pub fn patient(kernel: &Kernel) -> Self {
        Self { kernel: kernel.clone(), more_modules: Vec::new(), files: Vec::new() }
    }

    /// Loads one more module of the kernel at boot, with what it depends on.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.more_modules.push(name.into());
        self
    }

    /// Puts a file of the host at `path` (below an existing folder such as `modules/`, no leading slash).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn file(mut self, path: &str, from: &Path) -> Result<Self> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.files.push((path.trim_start_matches('/').to_owned(), bytes));
        Ok(self)
    }

    /// Builds it, or finds it in the cache by the digest of its contents.
    ///
    /// # Errors
    /// When busybox, the patient or a module cannot be had.
    pub fn build(self, cache: &Cache) -> Result<PathBuf> {
        let mut cpio = Cpio::default();
        for folder in FOLDERS {
            cpio.add(folder, DIRECTORY, &[]);
        }
        cpio.add("init", PROGRAM, &read(&patient::program(cache, self.kernel.arch)?)?);
        cpio.add("bin/busybox", PROGRAM, &quiet_prompt(read(&cache.busybox(self.kernel.arch)?)?));
        cpio.add("bin/sh", LINK, b"busybox");

        let mut wanted = MODULES.to_vec();
        wanted.extend(self.more_modules.iter().map(String::as_str));
        let mut list = String::new();
        for module in Modules::scan(&self.kernel.modules_dir)?.in_load_order(&wanted)? {
            let path = format!("modules/{}.ko", module.name);
            list.push_str(&format!("/{path}\n"));
            cpio.add(&path, DATA, &module.bytes);
        }
        cpio.add("etc/modules", DATA, list.as_bytes());
        for (path, bytes) in &self.files {
            cpio.add(path, DATA, bytes);
        }

        let bytes = cpio.finish();
        let key = format!("initramfs/{}-{}.gz", self.kernel.name, &sha256(&bytes)[..16]);
        cache.entry(&key, |path| {
            let mut gz = GzEncoder::new(File::create(path)?, Compression::fast());
            gz.write_all(&bytes)?;
            gz.finish()?.sync_all()?;
            Ok(())
        })
    }
}

/// Keeps busybox's line editor from asking the terminal for the cursor position after each prompt.
///
/// The question (`ESC [ 6 n`, lineedit.c, FEATURE_EDITING_ASK_TERMINAL) cannot be switched off, and it
/// would stand where a console's last bytes must be the prompt. A NUL in front makes it an empty text.
fn quiet_prompt(mut busybox: Vec<u8>) -> Vec<u8> {
    const QUESTION: &[u8] = b"\x1b[6n\0";
    if let Some(at) = busybox.windows(QUESTION.len()).position(|it| it == QUESTION) {
        busybox[at] = 0;
    }
    busybox
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A cpio archive in memory.
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    /// Adds an entry; `mode` has the type bits, a link's contents are its target.
    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.inode += 1;
        let n_links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let (size, name_size) = (contents.len(), name.len() + 1);
        // Magic, then 13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime, size,
        // four device numbers, name size with NUL, checksum (unused in newc).
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{n_links:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            self.inode, 0, 0, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Arch;
    use std::process::{Command, Stdio};

    #[test]
    fn entries_follow_the_newc_layout() {
        let mut cpio = Cpio::default();
        cpio.add("a", DATA, b"hello");
        let bytes = cpio.finish();
        assert!(bytes.starts_with(b"07070100000001000081a4"));
        // Header 110 + "a\0" = 112, a multiple of 4 already; the contents are padded to 8.
        assert_eq!(&bytes[112..120], b"hello\0\0\0");
        assert!(bytes[120..].starts_with(b"070701"));
    }

    #[test]
    fn busybox_reads_the_archive() {
        // The guests' own: no machine is promised to have one on its PATH.
        let busybox = Cache::open().unwrap().busybox(Arch::Amd64).unwrap();
        let mut child = Command::new(busybox)
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut cpio = Cpio::default();
        cpio.add("bin", DIRECTORY, &[]);
        cpio.add("bin/sh", LINK, b"busybox");
        cpio.add("init", PROGRAM, b"x");
        child.stdin.take().unwrap().write_all(&cpio.finish()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "bin\nbin/sh\ninit\n");
    }
}
