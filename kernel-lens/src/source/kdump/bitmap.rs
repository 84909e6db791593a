//! A bitmap of pages: bit N of it is page N, the lowest bit of a byte first.

use std::ops::Range;

use super::damaged;
use crate::PhysRange;
use crate::source::OpenError;
use crate::source::bytes::ReadAt;

/// Bytes of a bitmap at most: of 1 TiB in pages of 4 KiB.
const MAX_BYTES: u64 = 32 << 20;
/// Runs of RAM at most: a machine has tens.
const MAX_RANGES: usize = 1 << 16;
/// Words between two entries of the index.
const STRIDE: usize = 64;

/// The bits, and how many are set before each stride of them.
pub(super) struct Bitmap {
    words: Vec<u64>,
    before: Vec<u64>,
}

impl Bitmap {
    /// Reads the bits of `pages` pages from at most `len` bytes.
    pub(super) fn read(file: &dyn ReadAt, at: u64, len: u64, pages: u64) -> Result<Self, OpenError> {
        let wanted = pages.div_ceil(8).min(len);
        if wanted > MAX_BYTES {
            return Err(damaged("its bitmap is of more than 1 TiB"));
        }
        let mut bytes = file.bytes(at, wanted as usize).map_err(OpenError::io("the bitmap of pages"))?;
        if (bytes.len() as u64) < wanted {
            return Err(damaged("its bitmap is cut"));
        }
        let spare = (bytes.len() as u64 * 8).saturating_sub(pages);
        if let Some(last) = bytes.last_mut().filter(|_| spare < 8) {
            *last &= 0xff >> spare;
        }
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(place, byte)| *place = *byte);
            u64::from_le_bytes(word)
        });
        let words: Vec<u64> = words.collect();
        let mut sum = 0;
        let before = words.chunks(STRIDE).map(|part| {
            let before = sum;
            sum += count(part);
            before
        });
        let before = before.collect();
        Ok(Self { words, before })
    }

    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// How many bits are set before one that is set; `None` for one that is not.
    pub(super) fn rank(&self, bit: u64) -> Option<u64> {
        let index = usize::try_from(bit / 64).ok()?;
        let mask = 1u64 << (bit % 64);
        let word = self.words.get(index).filter(|it| **it & mask != 0)?;
        let stride = index / STRIDE;
        let part = self.words.get(stride * STRIDE..index)?;
        Some(self.before.get(stride)? + count(part) + u64::from((word & (mask - 1)).count_ones()))
    }

    /// The first run of set bits at or after one.
    pub(super) fn run_from(&self, bit: u64) -> Option<Range<u64>> {
        let start = self.next(bit, |word| word)?;
        let end = self.next(start, |word| !word).unwrap_or(self.words.len() as u64 * 64);
        Some(start..end)
    }

    /// The first bit at or after one that is set in what `of` makes of its word.
    fn next(&self, bit: u64, of: impl Fn(u64) -> u64) -> Option<u64> {
        let first = usize::try_from(bit / 64).ok()?;
        let mut mask = u64::MAX << (bit % 64);
        for index in first..self.words.len() {
            let word = of(self.word(index)) & mask;
            if word != 0 {
                return Some(index as u64 * 64 + u64::from(word.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }

    /// The runs as addresses.
    pub(super) fn ranges(&self, block_size: u64) -> Result<Vec<PhysRange>, OpenError> {
        let mut ranges = Vec::new();
        let mut from = 0;
        while let Some(run) = self.run_from(from) {
            if ranges.len() >= MAX_RANGES {
                return Err(damaged("its RAM is in too many pieces"));
            }
            ranges.push(PhysRange { start: run.start * block_size, end: run.end * block_size });
            from = run.end;
        }
        Ok(ranges)
    }
}

fn count(words: &[u64]) -> u64 {
    words.iter().map(|it| u64::from(it.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_and_runs_are_those_of_a_count_by_hand(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..1300),
            short in 0..16u64,
        ) {
            let pages = (bytes.len() as u64 * 8).saturating_sub(short);
            let map = Bitmap::read(&bytes, 0, bytes.len() as u64, pages).unwrap();
            let set = |bit: u64| bit < pages && bytes[bit as usize / 8] & (1 << (bit % 8)) != 0;
            let mut sum = 0;
            for bit in 0..pages + 8 {
                prop_assert_eq!(map.rank(bit), set(bit).then_some(sum));
                sum += u64::from(set(bit));
            }
            let mut from = 0;
            let mut seen = 0;
            while let Some(run) = map.run_from(from) {
                prop_assert!(run.clone().all(set) && !(from..run.start).any(set));
                seen += run.end - run.start;
                from = run.end;
            }
            prop_assert_eq!(seen, sum);
        }
    }

    #[test]
    fn a_bitmap_that_is_cut_or_too_large_is_an_error() {
        assert!(Bitmap::read(&vec![0; 4], 0, 100, 100).is_err());
        assert!(Bitmap::read(&vec![0; 4], 0, u64::MAX, u64::MAX).is_err());
        assert!(Bitmap::read(&vec![0u8; 4], 9, 1, 8).is_err());
    }
}
