//! A digest with a secret key, that tells whether bytes are those of an earlier look.
//!
//! What was derived from a kernel's tables may be kept for the next look at the same tables. A guest that
//! wants its own tables to pass for those of another kernel must meet the digest of those under a key that it
//! never sees, drawn when its own were looked at. It is a sum of folded products: some twenty times as fast as
//! a cryptographic hash, and of no use where the key is known.

use std::hash::{BuildHasher as _, RandomState};

/// A secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) [u64; 2]);

impl Key {
    /// Draws one.
    pub(crate) fn draw() -> Self {
        let draw = || RandomState::new().hash_one(0);
        Self([draw(), draw()])
    }

    /// The digest of bytes.
    pub(crate) fn digest(self, bytes: &[u8]) -> [u64; 2] {
        let Self([first, second]) = self;
        let secrets: [u64; 4] = std::array::from_fn(|it| mixed(first, second, it as u64));
        let mut lanes = secrets.map(|it| it.rotate_left(32) ^ second);
        let (blocks, rest) = bytes.as_chunks::<64>();
        let mut last = [0; 64];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        for block in blocks.iter().chain([&last]) {
            let (words, _) = block.as_chunks::<16>();
            for ((lane, secret), pair) in lanes.iter_mut().zip(secrets).zip(words) {
                let pair = u128::from_le_bytes(*pair);
                *lane = fold(pair as u64 ^ secret, (pair >> 64) as u64 ^ *lane);
            }
        }
        let [a, b, c, d] = lanes;
        let len = bytes.len() as u64;
        let [one, other] = [4, 5].map(|it| mixed(first, second, it));
        [
            fold(fold(a ^ one, b ^ len), fold(c ^ other, d ^ first)),
            fold(fold(d ^ other, a ^ second), fold(b ^ one, c ^ len)),
        ]
    }
}

/// The whole product of two words in one.
#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// A word of its own for each number.
fn mixed(first: u64, second: u64, number: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = first ^ (number + 1).wrapping_mul(ODD);
    fold(word, ODD ^ second.rotate_left(11 * number as u32)) ^ word.rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let key = Key::draw();
        let bytes: Vec<u8> = (0..300u32).map(|it| (it * 7) as u8).collect();
        let whole = key.digest(&bytes);
        assert_eq!(key.digest(&bytes.clone()), whole);
        assert_ne!(Key::draw().digest(&bytes), whole);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let digest = key.digest(&changed);
            assert!(digest[0] != whole[0] && digest[1] != whole[1], "bit {bit}");
        }
        let zeros = [0; 200];
        let all: std::collections::HashSet<_> = (0..200).map(|it| key.digest(&zeros[..it])).collect();
        assert_eq!(all.len(), 200);
    }
}
