//! Opens one allow-listed file of one process that is a QEMU.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl, open, openat, readlinkat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs};

use super::{Request, Want};
use crate::node::{fds, stat};

/// Bytes of a text file that are copied at most.
const MAX_TEXT: u64 = 64 << 10;
/// Bytes of the list of mappings: a QEMU with many devices and threads has some hundred KiB.
const MAX_MAPS: u64 = 1 << 20;

/// Opens what `request` asks for, or says why not. Blocking.
pub(super) fn open_for(request: &Request, qemu: &dyn Fn(&str) -> bool) -> Result<OwnedFd, String> {
    let pid = request.pid;
    let folder = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = format!("/proc/{pid}");
    let proc = open(root.as_str(), folder, Mode::empty()).map_err(|e| format!("no process {pid}: {e}"))?;
    let line = read_at(&proc, "stat").map_err(|e| format!("cannot read the state of process {pid}: {e}"))?;
    let seen = stat::parse(&line).ok_or_else(|| format!("the state of process {pid} has an unknown form"))?;
    if seen.start_ticks != request.start_ticks {
        return Err(format!("process {pid} is not the one that was meant: it started at another time"));
    }
    is_qemu(&proc, pid, qemu)?;
    let said = |e: io::Error| format!("cannot open it for process {pid}: {e}");
    match request.file {
        Want::Mem => file_at(&proc, "mem").map_err(said),
        Want::Pagemap => file_at(&proc, "pagemap").map_err(said),
        Want::Maps => copy(&read_up_to(&proc, "maps", MAX_MAPS).map_err(said)?).map_err(said),
        Want::Memfd { fd } => memory_at(&proc, fd),
        Want::Task { tid, file } => {
            let text = read_at(&proc, &format!("task/{tid}/{}", file.name())).map_err(said)?;
            copy(&text).map_err(said)
        }
        Want::Fds => {
            // Through our own descriptor, so that it is still the same process.
            let list = fds::list(&format!("/proc/self/fd/{}", proc.as_raw_fd())).map_err(said)?;
            copy(&serde_json::to_vec(&list).map_err(|e| e.to_string())?).map_err(said)
        }
    }
}

/// The program must have a QEMU's name and belong to root, so that no user of this host gets the opener
/// to look at a process of their choice.
fn is_qemu(proc: &OwnedFd, pid: u32, qemu: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let exe = readlinkat(proc, "exe").map_err(|e| format!("cannot see the program of process {pid}: {e}"))?;
    let exe = exe.to_string_lossy().into_owned();
    // An upgraded QEMU keeps running from its deleted file.
    let path = exe.strip_suffix(" (deleted)").unwrap_or(&exe);
    let name = Path::new(path).file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    if !qemu(&name) {
        return Err(format!("process {pid} is no QEMU: it runs {:?}", name.escape_default().to_string()));
    }
    let meta = fstatat(proc, "exe", AtFlags::empty()).map_err(|e| format!("cannot look at {name:?}: {e}"))?;
    if meta.st_uid != 0 || meta.st_mode & 0o022 != 0 {
        return Err(format!("the program of process {pid} is not root's alone to write"));
    }
    Ok(())
}

/// Whether a program of this name is a QEMU system emulator.
pub(super) fn qemu_name(name: &str) -> bool {
    name.starts_with("qemu-system-") || matches!(name, "qemu-kvm" | "kvm" | "qemu")
}

fn file_at(folder: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    Ok(openat(folder, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?)
}

fn read_at(folder: impl AsFd, path: &str) -> io::Result<Vec<u8>> {
    read_up_to(folder, path, MAX_TEXT)
}

fn read_up_to(folder: impl AsFd, path: &str, cap: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(file_at(folder, path)?).take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Looks at the file without opening it (O_PATH), so that a QEMU that puts something else in that place
/// gains nothing, and opens it anew only when it lies in memory: an image of a disk never does.
fn memory_at(proc: &OwnedFd, fd: u32) -> Result<OwnedFd, String> {
    let said = |e: nix::Error| format!("cannot open descriptor {fd}: {e}");
    let seen = openat(proc, format!("fd/{fd}").as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(said)?;
    let own = format!("/proc/self/fd/{}", seen.as_raw_fd());
    let kind = fstatfs(&seen).map_err(said)?.filesystem_type();
    let regular = fstat(&seen).map_err(said)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if !regular || ![TMPFS_MAGIC, HUGETLBFS_MAGIC].contains(&kind) {
        return Err(format!("descriptor {fd} is no memory"));
    }
    open(own.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(said)
}

/// A sealed, read-only copy.
fn copy(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut memory =
        File::from(memfd_create("vmward-copy", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    memory.write_all(bytes)?;
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    let own = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Ok(open(own.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}
