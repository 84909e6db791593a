//! From names to symbols: a hash that parts of a name can be put together by, and a table of chains.

/// Odd and with bits everywhere.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Symbols of one hash that are looked at: a table of a hostile guest may have all of them in one.
const MAX_CHAIN: usize = 1 << 16;

/// A polynomial hash of a text: that of two texts in a row follows from theirs, so that names need not be
/// unpacked to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash {
    value: u64,
    /// `BASE` to the power of the length.
    power: u64,
}

impl Hash {
    pub(crate) fn of(text: &[u8]) -> Self {
        let start = Self { value: 0, power: 1 };
        text.iter().fold(start, |hash, byte| hash.then(Self { value: u64::from(*byte) + 1, power: BASE }))
    }

    /// The hash of this text and another behind it.
    #[inline]
    pub(crate) fn then(self, behind: Self) -> Self {
        Self {
            value: self.value.wrapping_mul(behind.power).wrapping_add(behind.value),
            power: self.power.wrapping_mul(behind.power),
        }
    }
}

/// Symbols by the hashes of their names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The first of each chain, counted from 1.
    heads: Vec<u32>,
    /// Behind each symbol the next of its chain.
    next: Vec<u32>,
    shift: u32,
}

impl Index {
    /// Puts symbols in by the hashes of their names.
    pub(crate) fn new(count: usize, hashes: impl Iterator<Item = Hash>) -> Self {
        let buckets = count.next_power_of_two().max(2);
        let shift = 64 - buckets.trailing_zeros();
        let mut index = Self { heads: vec![0; buckets], next: vec![0; count], shift };
        for (number, hash) in (1..).zip(hashes.take(count)) {
            let bucket = index.bucket(hash);
            if let (Some(head), Some(next)) =
                (index.heads.get_mut(bucket), index.next.get_mut(number as usize - 1))
            {
                *next = std::mem::replace(head, number);
            }
        }
        index
    }

    #[inline]
    fn bucket(&self, hash: Hash) -> usize {
        let mixed = (hash.value ^ (hash.value >> 32)).wrapping_mul(BASE);
        (mixed >> self.shift) as usize
    }

    /// The symbols whose names may have a hash, ascending.
    pub(crate) fn candidates(&self, hash: Hash) -> Vec<u32> {
        let mut at = self.heads.get(if self.heads.is_empty() { 0 } else { self.bucket(hash) }).copied();
        let chain = std::iter::from_fn(|| {
            let here = at?.checked_sub(1)?;
            at = self.next.get(here as usize).copied();
            Some(here)
        });
        let mut all: Vec<u32> = chain.take(MAX_CHAIN).collect();
        // The last one that was put in is the first of its chain.
        all.reverse();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_text_is_that_of_its_parts() {
        let whole = Hash::of(b"init_task");
        assert_eq!(Hash::of(b"init").then(Hash::of(b"")).then(Hash::of(b"_task")), whole);
        assert_ne!(Hash::of(b"task_init"), whole);
        assert_ne!(Hash::of(b"\0"), Hash::of(b""));
    }

    #[test]
    fn every_symbol_is_found_in_order() {
        let names = ["a", "show", "b", "show", "c", "show"];
        let index = Index::new(names.len(), names.iter().map(|it| Hash::of(it.as_bytes())));
        let mut found = index.candidates(Hash::of(b"show"));
        found.retain(|it| names[*it as usize] == "show");
        assert_eq!(found, [1, 3, 5]);
        assert!(Index::default().candidates(Hash::of(b"show")).is_empty());
        assert!(Index::new(0, std::iter::empty()).candidates(Hash::of(b"show")).is_empty());
    }

    #[test]
    fn a_table_of_one_name_is_not_walked_to_its_end() {
        let index = Index::new(MAX_CHAIN * 2, std::iter::repeat(Hash::of(b"same")));
        assert_eq!(index.candidates(Hash::of(b"same")).len(), MAX_CHAIN);
    }
}
