//! Offline sources: files that hold a guest's memory, told apart by their first bytes.
//!
//! A file may come from anybody: sizes and counts in it are bounded by what the file really holds, and
//! what is damaged is an error or is missing, never a guess.

mod bytes;
mod elf;
mod error;
mod kdump;
mod minicore_memory;
mod notes;
mod packed;
mod segments;
pub(crate) mod ward_note;

use std::fs::File;
use std::path::Path;

pub use bytes::{FileBytes, ReadAt};
pub(crate) use elf::{FILE_HEADER, PN_XNUM, PROGRAM_HEADER, PT_LOAD, PT_NOTE};
pub use error::OpenError;
pub(crate) use notes::{ARM_STATUS, NT_PRSTATUS, REGISTERS_AT, X86_STATUS};
pub use segments::{Segment, SegmentMemory, merged};
pub use ward_note::Counts;

use crate::{Arch, Cpu, PhysicalMemory};

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An ELF core.
    Elf,
    /// Our own core of the pages that an examination read.
    Minicore,
    /// A kdump-compressed dump.
    Kdump,
    /// An image of RAM without any header.
    Raw,
}

/// ELF's number of an architecture (`e_machine`).
pub(crate) fn elf_machine(arch: Arch) -> u16 {
    match arch {
        Arch::X86_64 => 62,
        Arch::Aarch64 => 183,
    }
}

/// A file that was opened.
pub struct Opened {
    /// The guest's memory.
    pub memory: Box<dyn PhysicalMemory + Send + Sync>,
    /// Registers of the CPUs, in the file's order. A control register of zero is one that the file does
    /// not tell: only cores of QEMU and minicores have them.
    pub cpus: Vec<Cpu>,
    /// The text of VMCOREINFO.
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The guest's architecture, where the file says.
    pub arch: Option<Arch>,
    /// What it is.
    pub format: Format,
}

/// Opens a file by what its bytes say it is.
///
/// # Errors
/// [`OpenError`], which says what the file is instead.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let file = File::open(path).map_err(OpenError::io("the file"))?;
    let bytes = FileBytes::new(file).map_err(OpenError::io("the file"))?;
    open_bytes(Box::new(bytes))
}

/// The same for bytes wherever they are.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(file: Box<dyn ReadAt>) -> Result<Opened, OpenError> {
    let start = file.bytes(0, 16).map_err(OpenError::io("the first bytes"))?;
    if start.starts_with(b"\x7fELF") {
        return elf::open(file);
    }
    if start.starts_with(packed::MAGIC) {
        let whole = packed::unpack(file.as_ref())?;
        return if whole.starts_with(b"\x7fELF") {
            elf::open(Box::new(whole))
        } else {
            Err(OpenError::Unknown { start: whole.into_iter().take(8).collect() })
        };
    }
    if start.starts_with(kdump::FLATTENED) {
        let whole = kdump::Flattened::read(file)?;
        let signature = whole.bytes(0, 8).map_err(OpenError::io("the first bytes of the dump"))?;
        if !kdump::SIGNATURES.contains(&signature.as_slice()) {
            // A flattened ELF core is one too.
            return if signature.starts_with(b"\x7fELF") {
                elf::open(Box::new(whole))
            } else {
                Err(OpenError::Unknown { start: signature })
            };
        }
        return kdump::open(Box::new(whole));
    }
    if kdump::SIGNATURES.iter().any(|it| start.starts_with(it)) {
        return kdump::open(file);
    }
    Err(OpenError::Unknown { start: start.into_iter().take(8).collect() })
}

/// An image of raw RAM with its layout.
///
/// # Errors
/// [`OpenError::Io`].
pub fn open_raw(path: &Path, layout: Vec<Segment>) -> Result<Opened, OpenError> {
    let file = File::open(path).map_err(OpenError::io("the image"))?;
    let bytes = FileBytes::new(file).map_err(OpenError::io("the image"))?;
    let memory = Box::new(SegmentMemory::new(vec![bytes], layout));
    Ok(Opened { memory, cpus: Vec::new(), vmcoreinfo: None, arch: None, format: Format::Raw })
}

#[cfg(test)]
mod tests;
