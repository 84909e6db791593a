//! ELF cores: `dump-guest-memory` of QEMU (dump/dump.c), `/proc/vmcore` and what was saved of it, and the
//! minicore.
//!
//! Loads are taken by `p_paddr`. Where one has more `p_memsz` than `p_filesz`, the rest is RAM that the
//! file does not hold (a dump of a part of memory says so of all the rest). With more than 65534 program
//! headers, `e_phnum` is PN_XNUM and section header 0 has their number in `sh_info` (elf(5)).

use super::bytes::{ReadAt, u16_at, u32_at, u64_at};
use super::minicore_memory::MinicoreMemory;
use super::segments::{Segment, SegmentMemory};
use super::{Format, OpenError, Opened, elf_machine, notes, ward_note};
use crate::{Arch, PhysRange};

/// Program headers at most.
const MAX_HEADERS: u64 = 1 << 18;
/// Bytes of notes at most: 4096 vCPUs with their vector registers.
const MAX_NOTES: u64 = 32 << 20;
/// Bytes of one program header.
pub(crate) const PROGRAM_HEADER: usize = 56;
/// Bytes of the file's header.
pub(crate) const FILE_HEADER: usize = 64;
/// `e_phnum` when there are more.
pub(crate) const PN_XNUM: u16 = 0xffff;
/// Type of a program header for memory.
pub(crate) const PT_LOAD: u32 = 1;
/// Type of a program header for notes.
pub(crate) const PT_NOTE: u32 = 4;

fn damaged(what: &'static str) -> OpenError {
    OpenError::Damaged { format: "ELF core", what }
}

/// Opens a file that begins with the magic of ELF.
pub(super) fn open(file: Box<dyn ReadAt>) -> Result<Opened, OpenError> {
    let header = file.bytes(0, FILE_HEADER).map_err(OpenError::io("the ELF header"))?;
    if header.len() < FILE_HEADER {
        return Err(damaged("its header is cut"));
    }
    let unsupported = |what: &str, instead| OpenError::Unsupported { what: what.to_owned(), instead };
    let instead = "cores of 64-bit little-endian x86 and ARM guests are read";
    match (header.get(4), header.get(5)) {
        (Some(2), Some(1)) => {}
        (Some(1), _) => return Err(unsupported("a 32-bit ELF file", instead)),
        (Some(2), Some(2)) => return Err(unsupported("a big-endian ELF file", instead)),
        _ => return Err(damaged("its class makes no sense")),
    }
    if u16_at(&header, 16) != Some(4) {
        return Err(unsupported("an ELF file that is no core", "give a core, not a kernel or a program"));
    }
    let number = u16_at(&header, 18).unwrap_or(0);
    let known = [Arch::X86_64, Arch::Aarch64].into_iter().find(|it| elf_machine(*it) == number);
    let arch = known.ok_or_else(|| unsupported(&format!("a core of ELF machine {number}"), instead))?;

    let (segments, ranges, notes) = headers(file.as_ref(), &header)?;
    let notes = notes::read(&notes);
    let vmcoreinfo = notes.vmcoreinfo.map(<[u8]>::to_vec);
    if let Some(ward) = notes.ward {
        let ward = ward_note::read(ward)?;
        let pages = SegmentMemory::with_ranges(vec![file], segments, ward.ranges).without_holes();
        let cpus = ward.cpus;
        let memory = Box::new(MinicoreMemory::new(pages, ward.user_texts));
        return Ok(Opened { memory, cpus, vmcoreinfo, arch: Some(arch), format: Format::Minicore });
    }
    let memory = Box::new(SegmentMemory::with_ranges(vec![file], segments, ranges));
    Ok(Opened { memory, cpus: notes.cpus, vmcoreinfo, arch: Some(arch), format: Format::Elf })
}

type Headers = (Vec<Segment>, Vec<PhysRange>, Vec<u8>);

/// What the program headers say: memory that is there, memory that is RAM, and the notes.
fn headers(file: &dyn ReadAt, header: &[u8]) -> Result<Headers, OpenError> {
    let count = match u16_at(header, 56) {
        Some(PN_XNUM) => {
            let at = u64_at(header, 40).unwrap_or(0);
            let section = file.bytes(at, 64).map_err(OpenError::io("section header 0"))?;
            u64::from(u32_at(&section, 44).ok_or(damaged("its section header 0 is cut"))?)
        }
        count => u64::from(count.unwrap_or(0)),
    };
    if u16_at(header, 54) != Some(PROGRAM_HEADER as u16) {
        return Err(damaged("its program headers have an unknown size"));
    }
    if count > MAX_HEADERS {
        return Err(damaged("it says that it has too many program headers"));
    }
    let table = u64_at(header, 32).unwrap_or(0);
    let bytes = file.bytes(table, count as usize * PROGRAM_HEADER);
    let bytes = bytes.map_err(OpenError::io("the program headers"))?;
    let (mut segments, mut ranges, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in bytes.chunks_exact(PROGRAM_HEADER) {
        let word = |at| u64_at(entry, at).unwrap_or(0);
        let (offset, phys, file_len, memory_len) = (word(8), word(24), word(32), word(40));
        match u32_at(entry, 0) {
            Some(PT_NOTE) => {
                let room = MAX_NOTES.saturating_sub(notes.len() as u64);
                let part = file.bytes(offset, file_len.min(room) as usize);
                notes.extend(part.map_err(OpenError::io("the notes"))?);
            }
            // An address of all ones: the load has none (the vsyscall page of /proc/kcore).
            Some(PT_LOAD) if phys != u64::MAX => {
                if offset != u64::MAX && file_len > 0 {
                    segments.push(Segment { phys, len: file_len, file: 0, offset });
                }
                ranges.push(PhysRange { start: phys, end: phys.saturating_add(memory_len.max(file_len)) });
            }
            _ => {}
        }
    }
    if ranges.is_empty() {
        return Err(damaged("it has no memory"));
    }
    Ok((segments, ranges, notes))
}
