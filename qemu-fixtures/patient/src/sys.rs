//! System calls that no crate of ours offers safely. All unsafe code of the patient is in this file.
#![expect(unsafe_code, reason = "these calls have no safe wrapper in nix or std")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use libc::{c_int, c_long};

/// `FIFREEZE`, include/uapi/linux/fs.h: `_IOWR('X', 119, int)`.
const FIFREEZE: u32 = 0xc004_5877;
/// `FITHAW`: `_IOWR('X', 120, int)`.
const FITHAW: u32 = 0xc004_5878;
/// `BLKRRPART`: `_IO(0x12, 95)`.
const BLKRRPART: u32 = 0x125f;
/// `BLKFLSBUF`: `_IO(0x12, 97)`.
const BLKFLSBUF: u32 = 0x1261;

/// Freezes the file system that holds `folder`.
pub(crate) fn freeze(folder: &File) -> io::Result<()> {
    ioctl(folder, FIFREEZE)
}

/// Thaws the file system that holds `folder`.
pub(crate) fn thaw(folder: &File) -> io::Result<()> {
    ioctl(folder, FITHAW)
}

/// Reads a disk's partition table again.
pub(crate) fn reread_partitions(disk: &File) -> io::Result<()> {
    ioctl(disk, BLKRRPART)
}

/// Drops what the page cache has of a disk.
pub(crate) fn flush_buffers(disk: &File) -> io::Result<()> {
    ioctl(disk, BLKFLSBUF)
}

fn ioctl(file: &File, request: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, and these four requests neither read nor write
    // through the third argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives the calling thread `SCHED_FIFO` with `priority` (1 to 99).
pub(crate) fn become_realtime(priority: c_int) -> io::Result<()> {
    // musl's sched_setscheduler() only returns ENOSYS, so the system call is made here.
    // The structure of the kernel's interface is one int.
    // SAFETY: the pointer is to an int that lives through the call; 0 names the calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const priority) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the file or device at `path` swap space.
pub(crate) fn swap_on(path: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the path ends with NUL and lives through the call.
    let result = unsafe { libc::swapon(path.as_ptr(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes of a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf reads no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Calls the system call `number` with six zeros. For the calls that the fault uses, zeros mean
/// "nothing", or are refused.
pub(crate) fn call(number: c_long) -> io::Result<c_long> {
    // SAFETY: the kernel reads and writes nothing through null pointers; whoever chooses the number
    // accepts what the call does with zeros (a fault of a guest that is thrown away).
    let result = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
