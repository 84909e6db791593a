//! The table of tokens and the index behind it.
//!
//! Tokens that are a character stand at that character's number. So in every kernel the digits stand in a
//! row, each with its NUL, 48 texts behind the table's start. The index holds the place of each token as 16
//! bits, which nothing but the right table agrees with.

use memchr::memmem;

use crate::find::ImageRun;
use crate::symbols::Tokens;
use crate::{ReadError, Recorder};

const DIGITS: &[u8; 20] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
/// Tokens before that of the first digit.
const BEFORE: usize = b'0' as usize;
const CHUNK: u64 = 512 << 10;
/// Places of digits in a row that are looked at: no kernel has ten.
const MAX_TRIES: usize = 256;
/// Bytes that are looked at before and behind the digits.
const MARGIN: u64 = 16 << 10;
/// Padding between two tables at most.
const MAX_PADDING: usize = 16;

/// A table of tokens that agrees with its index.
#[derive(Debug)]
pub(super) struct TokenTable {
    pub(super) virt: u64,
    pub(super) index: u64,
    pub(super) tokens: Tokens,
}

/// Asks `found` for every table of tokens in the image until it has an answer.
pub(super) fn search<T>(
    memory: &Recorder<'_>,
    image: &ImageRun,
    mut found: impl FnMut(TokenTable) -> Result<Option<T>, ReadError>,
) -> Result<Option<T>, ReadError> {
    let inside = |it: u64| it.clamp(image.virt, image.end());
    let constants = inside(image.constants.start)..inside(image.constants.end);
    let finder = memmem::Finder::new(DIGITS);
    let mut chunk = vec![0; (CHUNK as usize) + DIGITS.len()];
    let mut tries = 0;
    for part in [constants.clone(), image.virt..constants.start, constants.end..image.end()] {
        let mut at = part.start;
        while at < part.end {
            let len = (part.end - at).min(chunk.len() as u64) as usize;
            let bytes = &mut chunk[..len];
            image.scan(memory, at, bytes)?;
            for hit in finder.find_iter(bytes) {
                tries += 1;
                if tries > MAX_TRIES {
                    return Ok(None);
                }
                let Some(table) = around(memory, image, at + hit as u64)? else { continue };
                if let Some(answer) = found(table)? {
                    return Ok(Some(answer));
                }
            }
            at = at.saturating_add(CHUNK);
        }
    }
    Ok(None)
}

/// The table that the digits at an address are part of.
fn around(memory: &Recorder<'_>, image: &ImageRun, digits: u64) -> Result<Option<TokenTable>, ReadError> {
    let from = digits.saturating_sub(MARGIN).max(image.virt);
    let to = digits.saturating_add(MARGIN).min(image.end());
    let mut window = vec![0; to.saturating_sub(from) as usize];
    image.scan(memory, from, &mut window)?;
    Ok(parse(&window, (digits - from) as usize).and_then(|(table, index)| {
        let tokens = Tokens::parse(window.get(table..)?)?;
        Some(TokenTable { virt: from + table as u64, index: from + index as u64, tokens })
    }))
}

/// Places of the table and of its index around the token of the first digit.
fn parse(window: &[u8], digits: usize) -> Option<(usize, usize)> {
    // Back to the start of token 1. Where token 0 starts only the index knows: what lies before it may end
    // in no NUL.
    let mut second = digits;
    for _ in 1..BEFORE {
        let behind = second.checked_sub(1).filter(|it| window.get(*it) == Some(&0))?;
        second = memchr::memrchr(0, window.get(..behind)?)? + 1;
    }
    let mut starts = Vec::with_capacity(Tokens::COUNT);
    let mut at = second;
    for _ in 1..Tokens::COUNT {
        starts.push(at);
        at += memchr::memchr(0, window.get(at..)?)? + 1;
    }
    (at..at + MAX_PADDING).find_map(|index| {
        let index_bytes = window.get(index..index + Tokens::COUNT * 2)?;
        let mut places =
            index_bytes.chunks_exact(2).map(|it| usize::from(u16::from_le_bytes([it[0], it[1]])));
        let first = places.next()?;
        let table = second.checked_sub(usize::from(u16::from_le_bytes([index_bytes[2], index_bytes[3]])))?;
        let agrees = first == 0 && table < second && places.eq(starts.iter().map(|it| it - table));
        agrees.then_some((table, index))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;
    use crate::symbols::token_table;

    /// The index of a table.
    pub(crate) fn index(table: &[u8]) -> Vec<u8> {
        let mut at = 0u16;
        let mut index = Vec::new();
        for token in table.split_inclusive(|it| *it == 0) {
            index.extend_from_slice(&at.to_le_bytes());
            at += u16::try_from(token.len()).unwrap();
        }
        index
    }

    fn found(memory: &TestMemory, image: &ImageRun) -> Option<(u64, u64)> {
        search(&Recorder::new(memory), image, |it| Ok(Some((it.virt, it.index)))).unwrap()
    }

    #[test]
    fn a_table_is_found_wherever_it_lies_and_whatever_lies_before_it() {
        let table = token_table();
        let image = ImageRun::new(0xffff_0000, 0, 0x18_0000);
        let mut constants = image.clone();
        constants.constants = 0xffff_0000 + 0x10_0000..0xffff_0000 + 0x14_0000;
        // Across the border of two chunks, too.
        for at in [0x2000, CHUNK - 700, CHUNK - 400, CHUNK * 2 - 8, 0x17_e000] {
            for before in [0, 0xee] {
                let memory = TestMemory::new(0x18_0000);
                memory.write(at - 3, &[before; 3]);
                memory.write(0x1000, b"junk0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0:\0");
                memory.write(at, &table);
                let behind = (at + table.len() as u64).next_multiple_of(8);
                memory.write(behind, &index(&table));
                let expected = Some((image.virt + at, image.virt + behind));
                assert_eq!(found(&memory, &image), expected);
                assert_eq!(found(&memory, &constants), expected);
            }
        }
    }

    #[test]
    fn a_table_that_does_not_agree_with_its_index_is_none() {
        let (memory, table) = (TestMemory::new(0x10000), token_table());
        let image = ImageRun::new(0xffff_0000, 0, 0x10000);
        memory.write(0x2000, &table);
        let behind = (0x2000 + table.len() as u64).next_multiple_of(8);
        memory.write(behind, &index(&table));
        assert!(found(&memory, &image).is_some());
        memory.write(behind + 300, &[0xff]);
        assert_eq!(found(&memory, &image), None);
    }

    #[test]
    fn digits_without_end_do_not_keep_it_busy() {
        let memory = TestMemory::new(0x8_0000);
        for at in (0..0x7_0000).step_by(20) {
            memory.write(at, DIGITS);
        }
        let recorder = Recorder::new(&memory);
        let image = ImageRun::new(0xffff_0000, 0, 0x8_0000);
        assert!(search(&recorder, &image, |_| Ok(Some(()))).unwrap().is_none());
        assert!(recorder.reads() < 1000);
    }
}
