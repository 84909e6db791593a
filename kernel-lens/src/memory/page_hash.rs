//! A hash of page numbers: every read of guest memory asks for one or more.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by page numbers.
pub(crate) type PageMap<T> = HashMap<u64, T, PageHash>;

/// Odd and with bits everywhere.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes numbers with a secret, so that no guest can choose pages that fall together.
#[derive(Debug, Clone)]
pub(crate) struct PageHash(u64);

impl Default for PageHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for PageHash {
    type Hasher = PageHasher;

    fn build_hasher(&self) -> PageHasher {
        PageHasher(self.0)
    }
}

/// See [`PageHash`].
#[derive(Debug)]
pub(crate) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|it| self.write_u64(u64::from(*it)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(number ^ self.0) * u128::from(ODD);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_apart_and_two_maps_by_different_secrets() {
        let hash = PageHash::default();
        let mut all: Vec<u64> = (0..100_000u64).map(|it| hash.hash_one(it) >> 44).collect();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 80_000, "{} places", all.len());
        assert_ne!(hash.hash_one(1u64), PageHash::default().hash_one(1u64));
    }
}
