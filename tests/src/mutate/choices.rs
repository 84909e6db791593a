//! Where the decisions come from: a seed or a fuzzer.

/// A source of decisions. `None` when it has no more.
pub trait Choices {
    /// A number below `n`, which is not zero.
    fn below(&mut self, n: u64) -> Option<u64>;

    /// Any number.
    fn word(&mut self) -> Option<u64>;
}

/// Endless decisions that follow from a seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014).
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }
}

impl Choices for Seeded {
    fn below(&mut self, n: u64) -> Option<u64> {
        Some(self.next() % n.max(1))
    }

    fn word(&mut self) -> Option<u64> {
        Some(self.next())
    }
}

/// A fuzzer's bytes, as few of them as a decision needs.
#[derive(Debug, Clone)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// Those bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, n: usize) -> Option<u64> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

impl Choices for Bytes<'_> {
    fn below(&mut self, n: u64) -> Option<u64> {
        let len = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(8);
        Some(self.take(len as usize)? % n.max(1))
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_takes_the_bytes_that_it_needs() {
        let mut bytes = Bytes::new(&[7, 1, 2, 9, 9]);
        assert_eq!(bytes.below(1), Some(0));
        assert_eq!(bytes.below(256), Some(7));
        assert_eq!(bytes.below(1000), Some(513));
        assert_eq!(bytes.word(), None);
        assert_eq!(bytes.below(1 << 20), None);
    }

    #[test]
    fn a_seed_gives_what_the_paper_gives() {
        // The first numbers of java.util.SplittableRandom(1234567), which is the paper's generator.
        let mut seeded = Seeded::new(1_234_567);
        let first = [seeded.word(), seeded.word()];
        assert_eq!(first, [Some(6_457_827_717_110_365_317), Some(3_203_168_211_198_807_973)]);
    }
}
