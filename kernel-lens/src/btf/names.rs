//! From names to numbers, in eight bytes a name: sorted hashes, compared with the text when asked.
//!
//! A sorted list and no hash table: a hostile blob in which all names or all hashes are the same costs
//! nothing more.

use std::mem::size_of;

/// Entries of one hash that are looked at.
const MAX_SAME: usize = 256;

/// An index of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The hash in the upper half, the number in the lower one.
    sorted: Vec<u64>,
}

impl Names {
    /// Makes an index of names and their numbers.
    pub(super) fn new<'a>(names: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        let mut sorted: Vec<u64> = names.map(|(name, number)| key(name) | u64::from(number)).collect();
        sorted.sort_unstable();
        sorted.shrink_to_fit();
        Self { sorted }
    }

    /// The numbers that a name may have, ascending. Whoever asks compares the text.
    pub(super) fn candidates(&self, name: &[u8]) -> impl Iterator<Item = u32> + '_ {
        let key = key(name);
        let first = self.sorted.partition_point(|it| *it < key);
        let rest = self.sorted.get(first..).unwrap_or_default();
        let same = move |it: &&u64| **it >> 32 == key >> 32;
        rest.iter().take_while(same).take(MAX_SAME).map(|it| *it as u32)
    }

    /// Bytes that it keeps.
    pub(super) fn memory(&self) -> usize {
        self.sorted.capacity() * size_of::<u64>()
    }
}

/// A hash in the upper half: eight bytes a step, since every look at a kernel hashes tens of thousands.
fn key(name: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    let mut words = name.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(ODD);
    }
    let rest = words.remainder().iter().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
    hash = (hash.rotate_left(23) ^ rest).wrapping_mul(ODD);
    (hash ^ hash >> 29) & !0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_numbers() {
        let all: [(&[u8], u32); 4] = [(b"mutex", 7), (b"list_head", 3), (b"mutex", 2), (b"", 1)];
        let names = Names::new(all.into_iter());
        assert_eq!(names.candidates(b"mutex").collect::<Vec<_>>(), [2, 7]);
        assert_eq!(names.candidates(b"list_head").collect::<Vec<_>>(), [3]);
        assert!(!names.candidates(b"nothing").any(|_| true));
    }

    #[test]
    fn a_million_equal_names_are_not_all_looked_at() {
        let names = Names::new((0..1_000_000).map(|number| (&b"x"[..], number)));
        assert_eq!(names.candidates(b"x").count(), MAX_SAME);
    }
}
