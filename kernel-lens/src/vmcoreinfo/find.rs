//! Looking for `VMCOREINFO` in all of a guest's memory.
//!
//! The kernel keeps the text at the start of a page of its own (`vmcoreinfo_data`), and once more as an ELF
//! note at the start of another (`vmcoreinfo_note`). Both are found by the first bytes of pages. There may
//! be more than one text: that of a kernel before a kexec, of a dump in the page cache.

use std::ops::ControlFlow;

use crate::find::scan::{Seam, seams};
use crate::{PAGE_SIZE, ReadError, Recorder};

use super::{MAX_TEXT, VmcoreInfo};

/// Copies that are looked into at most.
pub const MAX_COPIES: usize = 64;
/// ELF note: three words, the name `VMCOREINFO` with its NUL padded to twelve bytes, then the text.
const NOTE_NAME: &[u8] = b"VMCOREINFO\0";
const NOTE_NAME_AT: usize = 12;
const NOTE_TEXT_AT: u64 = 24;

/// A text and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The text.
    pub info: VmcoreInfo,
    /// Guest-physical addresses of the pages that begin with it.
    pub pages: Vec<u64>,
    /// Guest-physical addresses of the ELF notes that hold it.
    pub notes: Vec<u64>,
}

impl Copies {
    /// A kernel that runs has both kinds, a file in the page cache one.
    fn rank(&self) -> (bool, usize) {
        (!self.pages.is_empty() && !self.notes.is_empty(), self.pages.len() + self.notes.len())
    }
}

/// Places where a text may begin.
#[derive(Debug, Default)]
pub(crate) struct Spots {
    /// Address of the page and whether it is a note.
    at: Vec<(u64, bool)>,
}

impl Spots {
    /// Notes a page that looks like one.
    pub(crate) fn see(&mut self, seam: &Seam) {
        let page = seam.head.starts_with(b"OSRELEASE=");
        let note = seam.head[NOTE_NAME_AT..].starts_with(NOTE_NAME) && seam.head[0] == 11;
        if (page || note) && self.at.len() < MAX_COPIES {
            self.at.push((seam.phys, note));
        }
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Reads what was noted, the likeliest first.
    pub(crate) fn read(&self, memory: &Recorder<'_>) -> Result<Vec<Copies>, ReadError> {
        let mut found: Vec<Copies> = Vec::new();
        for (phys, note) in &self.at {
            let at = phys + if *note { NOTE_TEXT_AT } else { 0 };
            let Some(info) = text_at(memory, at)? else { continue };
            let same = found.iter().position(|it| it.info == info);
            let known = same.unwrap_or_else(|| {
                found.push(Copies { info, pages: Vec::new(), notes: Vec::new() });
                found.len() - 1
            });
            if let Some(copies) = found.get_mut(known) {
                if *note { copies.notes.push(*phys) } else { copies.pages.push(*phys) }
            }
        }
        found.sort_by_key(|it| std::cmp::Reverse(it.rank()));
        Ok(found)
    }
}

/// Every text that can be read, the likeliest first. Whether a kernel that runs wrote it is for
/// [`super::agrees`] to say.
///
/// # Errors
/// Only what ends an examination; a copy that cannot be read is left out.
pub fn find(memory: &Recorder<'_>) -> Result<Vec<Copies>, ReadError> {
    let mut spots = Spots::default();
    seams(memory, |it| {
        spots.see(it);
        ControlFlow::Continue(())
    })?;
    spots.read(memory)
}

/// Reads on up to the page that has a NUL.
fn text_at(memory: &Recorder<'_>, at: u64) -> Result<Option<VmcoreInfo>, ReadError> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_TEXT {
        let next = at.saturating_add(bytes.len() as u64);
        let mut part = vec![0; (PAGE_SIZE - next % PAGE_SIZE) as usize];
        match memory.read(next, &mut part) {
            Ok(()) => {}
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            Err(_) => break,
        }
        bytes.extend_from_slice(&part);
        if memchr::memchr(0, &part).is_some() {
            break;
        }
    }
    Ok(VmcoreInfo::parse(&bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;
    use crate::memory::test_memory::TestMemory;

    fn note(text: &str) -> Vec<u8> {
        let mut bytes = vec![11, 0, 0, 0];
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(b"\0\0\0\0VMCOREINFO\0\0");
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn the_text_with_both_kinds_of_copies_goes_first() {
        let memory = TestMemory::new(0x20000);
        let (old, new) = (text("KERNELOFFSET=1\n"), text("KERNELOFFSET=2\n"));
        memory.write(0x1000, old.as_bytes());
        memory.write(0x2000, old.as_bytes());
        memory.write(0x5000, new.as_bytes());
        memory.write(0x8000, &note(&new));
        // Not at the start of a page, and one that ends early.
        memory.write(0xa010, new.as_bytes());
        memory.write(0xb000, b"OSRELEASE=6.1\nPAGESIZE=4096\n");
        let recorder = Recorder::new(&memory);
        let found = find(&recorder).unwrap();
        let offsets: Vec<_> = found.iter().map(|it| it.info.kernel_offset()).collect();
        assert_eq!(offsets, [Some(2), Some(1)]);
        assert_eq!((&found[0].pages[..], &found[0].notes[..]), (&[0x5000][..], &[0x8000][..]));
        assert_eq!(found[1].pages, [0x1000, 0x2000]);
        assert!(recorder.recorded().contains(&0x8000));
    }

    #[test]
    fn a_text_longer_than_a_page_is_read_whole_and_one_without_an_end_is_bounded() {
        let memory = TestMemory::new(0x40000);
        let long: String = (0..400).map(|it| format!("NUMBER(filler_{it})={it}\n")).collect();
        memory.write(0x10000, text(&long).as_bytes());
        let endless: String = (0..9000).map(|it| format!("NUMBER(endless_{it})={it}\n")).collect();
        memory.write(0x18000, &text(&endless).as_bytes()[..0x20000]);
        let found = find(&Recorder::new(&memory)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].info.number("filler_399"), Some(399));
    }
}
