//! The minicore: every page that an examination read, as an ELF core that debuggers open.
//!
//! What was reported was made from these pages, so the lens reads the same out of the file
//! ([`crate::source::open`]). Debuggers want virtual addresses: each page stands at those that the caller
//! knows ([`Window`]), its bytes are in the file once. Pages that the policy leaves out (user memory) are
//! counted, not kept; of them only the bytes that the result was made from are in our own note. The same
//! record gives the same bytes.
//!
//! Whoever examined a guest calls [`save`].
//!
//! File: ELF header, program headers (and section header 0 when they are too many to count in the header),
//! notes (NT_PRSTATUS by CPU, VMCOREINFO, our own: `source/ward_note.rs`), pages.

mod loads;
mod save;
mod status;
mod wanted;
mod windows;

use std::io::{self, Write};

pub use crate::source::Counts;
use crate::source::ward_note::WardNote;
use crate::source::{FILE_HEADER, PN_XNUM, PROGRAM_HEADER, PT_LOAD, PT_NOTE, elf_machine};
use crate::{Arch, Cpu, PAGE_SIZE, PhysRange, Recorder};
pub use save::{Policy, SaveError, save};

/// A run of virtual memory that maps a run of physical memory: the kernel's image, the direct map, a page
/// of a stack in the vmalloc area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First virtual address.
    pub virt: u64,
    /// The guest-physical address that it maps.
    pub phys: u64,
    /// Length in bytes.
    pub len: u64,
}

/// What goes into a minicore beside the recorded pages.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// Registers that the examination was made with.
    pub cpus: &'a [Cpu],
    /// The text of VMCOREINFO, as it was found.
    pub vmcoreinfo: Option<&'a [u8]>,
    /// Where physical memory stands in the kernel's address space.
    pub windows: &'a [Window],
    /// Memory that a debugger needs and the examination did not read. What of it cannot be read is counted.
    pub extra: &'a [PhysRange],
}

/// Pages of `extra` at most that are looked at: more than the record takes in any case.
const MAX_EXTRA: u64 = 1 << 20;

/// Writes a minicore of the pages in the record. `keeps` is the policy: whether the page at a
/// guest-physical address may go into the file.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut impl Write,
    recorder: &Recorder<'_>,
    contents: &Contents<'_>,
    keeps: impl Fn(u64) -> bool,
) -> io::Result<Counts> {
    let mut counts =
        Counts { unreadable: fetch_extra(recorder, contents.extra, &keeps), ..Counts::default() };
    let mut pages = recorder.recorded();
    let recorded = pages.len() as u64;
    pages.retain(|page| keeps(*page));
    counts.left_out = recorded - pages.len() as u64;
    write_pages(out, recorder, contents, &pages, counts)
}

/// Writes a minicore of these pages of the record.
fn write_pages(
    out: &mut impl Write,
    recorder: &Recorder<'_>,
    contents: &Contents<'_>,
    pages: &[u64],
    counts: Counts,
) -> io::Result<Counts> {
    let counts = Counts { kept: pages.len() as u64, ..counts };
    let ranges = recorder.memory().ranges().to_vec();
    let user_texts = recorder.user_texts();
    let ward = WardNote { ranges, cpus: contents.cpus.to_vec(), counts, user_texts };
    let notes = notes(contents, &ward);
    let mut list = loads::of(pages, contents.windows);
    let n_headers = list.len() + 1;
    let many = n_headers >= usize::from(PN_XNUM);
    let section_at = FILE_HEADER + n_headers * PROGRAM_HEADER;
    let notes_at = section_at + if many { SECTION_HEADER } else { 0 };
    let data_at = (notes_at + notes.len()).next_multiple_of(PAGE_SIZE as usize);
    for load in &mut list {
        load.offset += data_at as u64;
    }

    let mut head = file_header(contents.arch, n_headers, many.then_some(section_at));
    let note = loads::Load { virt: 0, phys: 0, len: notes.len() as u64, offset: notes_at as u64 };
    program_header(&mut head, PT_NOTE, &note, 4);
    for load in &list {
        // No alignment, as QEMU and the kernel write: crash takes another for a dump of its elder, netdump,
        // and does not look for the kernel's offset in it (crash netdump.c, `is_netdump`).
        program_header(&mut head, PT_LOAD, load, 0);
    }
    if many {
        let mut section = [0; SECTION_HEADER];
        section[44..48].copy_from_slice(&(n_headers as u32).to_le_bytes());
        head.extend(section);
    }
    head.extend(notes);
    head.resize(data_at, 0);
    out.write_all(&head)?;
    let mut bytes = [0; PAGE_SIZE as usize];
    for page in pages {
        // From the record: it does not fail, and gives what the result was made from.
        recorder.read(*page, &mut bytes).map_err(io::Error::other)?;
        out.write_all(&bytes)?;
    }
    out.flush()?;
    Ok(counts)
}

const SECTION_HEADER: usize = 64;

/// Takes the extra pages into the record; says how many could not be read.
fn fetch_extra(recorder: &Recorder<'_>, extra: &[PhysRange], keeps: impl Fn(u64) -> bool) -> u64 {
    let pages = extra.iter().flat_map(|it| it.start / PAGE_SIZE..it.end.div_ceil(PAGE_SIZE));
    let pages = pages.take(MAX_EXTRA as usize).map(|number| number * PAGE_SIZE);
    let failed = pages.filter(|page| keeps(*page) && recorder.read(*page, &mut [0; 1]).is_err());
    failed.count() as u64
}

fn notes(contents: &Contents<'_>, ward: &WardNote) -> Vec<u8> {
    let mut out = Vec::new();
    for cpu in contents.cpus {
        note(&mut out, b"CORE\0", crate::source::NT_PRSTATUS, &status::of(cpu));
    }
    if let Some(text) = contents.vmcoreinfo {
        note(&mut out, b"VMCOREINFO\0", 0, text);
    }
    note(&mut out, b"VMWARD\0", 1, &ward.to_bytes());
    out
}

fn note(out: &mut Vec<u8>, name: &[u8], kind: u32, content: &[u8]) {
    for word in [name.len() as u32, content.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    for part in [name, content] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn file_header(arch: Arch, n_headers: usize, section_at: Option<usize>) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, it: u16| out.extend(it.to_le_bytes());
    half(&mut out, 4);
    half(&mut out, elf_machine(arch));
    out.extend(1u32.to_le_bytes());
    for word in [0, FILE_HEADER as u64, section_at.unwrap_or(0) as u64] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    let count = if section_at.is_some() { PN_XNUM } else { n_headers as u16 };
    let sections = u16::from(section_at.is_some());
    for it in [FILE_HEADER as u16, PROGRAM_HEADER as u16, count, SECTION_HEADER as u16, sections, 0] {
        half(&mut out, it);
    }
    out
}

fn program_header(out: &mut Vec<u8>, kind: u32, load: &loads::Load, align: u64) {
    out.extend(kind.to_le_bytes());
    out.extend(7u32.to_le_bytes());
    let in_memory = if kind == PT_LOAD { load.len } else { 0 };
    for word in [load.offset, load.virt, load.phys, load.len, in_memory, align] {
        out.extend(word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
