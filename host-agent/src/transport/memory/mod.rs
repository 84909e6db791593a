//! A live guest's memory and registers, as [`vmward_kernel_lens`] wants them.
//!
//! | source | needs | what it costs |
//! |---|---|---|
//! | [`shared()`] | a descriptor of each RAM block's file (memfd, `/dev/shm`, hugetlbfs) | nothing: `pread` populates nothing, QEMU is not involved |
//! | [`PrivateMemory`] | `/proc/PID/mem` and `pagemap` | nothing: pages that are not there are not touched |
//! | [`StubMemory`] | a gdb stub that is attached: the guest is paused (rung L2) | what is read becomes resident |
//! | [`MonitorMemory`] | the monitor | the last resort: a kilobyte a question, what is read becomes resident |
//!
//! All take the layout that [`MemoryMap`] reads out of `info mtree -f`: guest-physical runs, which RAM
//! block each shows, and where in it. Everything that QEMU says is untrusted: a map that lies makes the
//! lens read other bytes of QEMU's own memory, and nothing else.
//!
//! [`registers`] turns `info registers -a` and the gdb stub's registers into [`vmward_kernel_lens::Cpu`].

mod backing;
mod map;
mod monitor;
mod private;
pub mod registers;
mod stub;

pub use backing::{Backing, BackingError, BlockFile, Mapping, block_files, host_address, mappings};
pub use map::{MapError, MemoryMap, Row, RowKind};
pub use monitor::MonitorMemory;
pub use private::{PrivateMemory, PrivateRun};
pub use stub::StubMemory;

use std::fs::File;
use std::io;

use vmward_kernel_lens::source::{FileBytes, Segment, SegmentMemory};

/// Memory in files that QEMU shares: each with the RAM block that it holds.
///
/// The files are read by `pread`, and their holes are found by `SEEK_DATA`, which moves their cursors: they
/// must have been opened for this (the opener opens them anew).
///
/// # Errors
/// When a file cannot be looked at.
pub fn shared(map: &MemoryMap, files: Vec<(Backing, File)>) -> io::Result<SegmentMemory<FileBytes>> {
    let blocks: Vec<&str> = files.iter().map(|(backing, _)| backing.block.as_str()).collect();
    let segments = map
        .ram(&blocks)
        .filter_map(|row| {
            let file = files.iter().position(|(backing, _)| backing.block == row.block)?;
            let (backing, _) = files.get(file)?;
            let offset = backing.offset.checked_add(row.offset)?;
            Some(Segment { phys: row.start, len: row.len(), file, offset })
        })
        .collect();
    let files = files.into_iter().map(|(_, file)| FileBytes::new(file)).collect::<io::Result<Vec<_>>>()?;
    Ok(SegmentMemory::new(files, segments))
}
