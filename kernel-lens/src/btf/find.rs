//! BTF in the memory of a guest: between its symbols, or by its magic in the kernel's image.
//!
//! `CONFIG_DEBUG_INFO_BTF` (v5.2) puts it into the section `.BTF` of the image, in read-only data that is
//! never freed. Ubuntu's 5.4 has no symbols for it.

use std::ops::Range;

use memchr::memmem;

use super::header::{Header, MAX_LEN};
use super::{BtfError, Types};
use crate::memory::Shared;
use crate::{AddressSpace, PAGE_SIZE, ReadError, Symbols};

/// How BTF begins: the magic, version 1, no flags.
const BEGIN: [u8; 4] = [0x9f, 0xeb, 1, 0];
/// Bytes from the magic to the end of the longest header known.
const HEADER: usize = 32;
/// Bytes of an image that are looked at, at most.
const MAX_IMAGE: u64 = 512 << 20;
/// Places with the magic that are looked at: a kernel has one, in its image.
const MAX_PLACES: usize = 1 << 12;
/// Blobs that are indexed in the hope of a good one.
const MAX_TRIED: usize = 3;

impl Types {
    /// Finds and indexes the BTF of a kernel: by its symbols, or else by its magic in the addresses of the
    /// image.
    ///
    /// The blob is read by [`AddressSpace::read`], so that it is in the minicore; the search is not.
    ///
    /// # Errors
    /// [`BtfError::NotFound`] for a kernel without it; what is wrong with the one that symbols lead to, if
    /// there is no better one.
    pub fn find(space: &AddressSpace<'_>, symbols: &Symbols, image: Range<u64>) -> Result<Self, BtfError> {
        let named = symbols.address("__start_BTF").zip(symbols.address("__stop_BTF"));
        let by_symbols = named.map(|(start, end)| Self::read(space, start..end));
        if let Some(Ok(types)) = by_symbols {
            return Ok(types);
        }
        let mut places = places(space, image);
        places.sort_by_key(|it| std::cmp::Reverse(it.end - it.start));
        let found = places.into_iter().take(MAX_TRIED).find_map(|it| Self::read(space, it).ok());
        found.ok_or(match by_symbols {
            Some(Err(error)) => error,
            _ => BtfError::NotFound,
        })
    }

    /// Reads and indexes the BTF at an address range.
    ///
    /// # Errors
    /// As [`Self::new`], and [`BtfError::Read`].
    pub fn read(space: &AddressSpace<'_>, range: Range<u64>) -> Result<Self, BtfError> {
        Self::of(read_blob(space, range)?)
    }
}

/// The bytes of a range, if it is no longer than BTF may be.
pub(super) fn read_blob(space: &AddressSpace<'_>, range: Range<u64>) -> Result<Shared, BtfError> {
    let len = range.end.checked_sub(range.start).and_then(|it| usize::try_from(it).ok());
    let len = len.ok_or(ReadError::Inconsistent { what: "the end of the BTF", virt: range.end })?;
    if len > MAX_LEN {
        return Err(BtfError::TooLarge { what: "bytes", limit: MAX_LEN });
    }
    // Nothing is allocated for a length that a guest claims before its first bytes are looked at.
    let mut begin = [0; HEADER];
    let begin = begin.get_mut(..len.min(HEADER)).unwrap_or_default();
    space.scan(range.start, begin)?;
    let end = Header::parse(begin, len)?.end();
    Ok(space.shared(range.start, end)?)
}

/// Ranges in which a header says that BTF lies.
fn places(space: &AddressSpace<'_>, image: Range<u64>) -> Vec<Range<u64>> {
    let end = image.end.min(image.start.saturating_add(MAX_IMAGE));
    let finder = memmem::Finder::new(&BEGIN);
    let mut places = Vec::new();
    // The tail of the page before, since a header may begin there.
    let mut window = vec![0; HEADER + PAGE_SIZE as usize];
    let mut at = image.start - image.start % PAGE_SIZE;
    let mut kept = 0;
    while at < end && places.len() < MAX_PLACES {
        let Some(page) = window.get_mut(kept..kept + PAGE_SIZE as usize) else { break };
        if space.scan(at, page).is_err() {
            kept = 0;
        } else {
            let filled = kept + PAGE_SIZE as usize;
            let base = at - kept as u64;
            let seen = window.get(..filled).unwrap_or_default();
            for found in finder.find_iter(seen).filter(|it| it + HEADER <= filled) {
                let start = base + found as u64;
                let room = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(MAX_LEN);
                if let Ok(header) = Header::parse(seen.get(found..).unwrap_or_default(), room)
                    && !header.types.is_empty()
                    && places.len() < MAX_PLACES
                {
                    places.push(start..start + header.end() as u64);
                }
            }
            // A header that ended in this page was seen; the last bytes may begin one that does not.
            kept = HEADER - 1;
            window.copy_within(filled - kept..filled, 0);
        }
        let Some(next) = at.checked_add(PAGE_SIZE) else { break };
        at = next;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::test_blob::Blob;
    use super::*;
    use crate::Recorder;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    /// Pages 0x10000..0x20000 of virtual memory, one of them missing.
    fn memory() -> TestMemory {
        let memory = TestMemory::new(0x40000);
        for (table, value) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003)] {
            memory.write_u64(table, value);
        }
        for page in (0x10..0x20u64).filter(|it| *it != 0x12) {
            memory.write_u64(0x4000 + page * 8, page * 0x1000 + 3);
        }
        memory
    }

    fn with_space(memory: &TestMemory, look: impl FnOnce(&AddressSpace<'_>)) {
        let recorder = Recorder::new(memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        look(&AddressSpace::new(&recorder, paging));
    }

    #[test]
    fn symbols_lead_to_it() {
        let (memory, blob) = (memory(), Blob::small_kernel());
        memory.write(0x10010, &blob);
        let end = 0x10010 + blob.len() as u64;
        let symbols = Symbols::new([(0x10010, b'R', "__start_BTF"), (end, b'R', "__stop_BTF")]);
        with_space(&memory, |space| {
            let types = Types::find(space, &symbols, 0..0).unwrap();
            assert_eq!(types.offset("task_struct", "pid"), Some(8));
            assert!(space.memory().recorded().contains(&0x10000), "the minicore must have it");
        });
    }

    #[test]
    fn without_symbols_the_largest_in_the_image_is_taken() {
        let (memory, blob) = (memory(), Blob::small_kernel());
        let mut small = Blob::new();
        small.int("char", 1);
        memory.write(0x10123, &small.bytes());
        // Its header lies across two pages.
        memory.write(0x15ff1, &blob);
        // One that claims to go on far behind the image.
        memory.write(0x18000, &blob[..16]);
        memory.write(0x18010, &u32::MAX.to_le_bytes());
        with_space(&memory, |space| {
            let types = Types::find(space, &Symbols::default(), 0x10000..0x20000).unwrap();
            assert_eq!(types.offset("task_struct", "pid"), Some(8));
        });
    }

    #[test]
    fn a_kernel_without_btf_is_told() {
        let memory = memory();
        with_space(&memory, |space| {
            let wild = Symbols::new([(u64::MAX - 9, b'R', "__start_BTF"), (0x10, b'R', "__stop_BTF")]);
            assert!(Types::find(space, &wild, 0x10000..0x20000).is_err());
            let none = Types::find(space, &Symbols::default(), 0x10000..u64::MAX);
            assert!(matches!(none, Err(BtfError::NotFound)), "{none:?}");
        });
    }
}
