//! The packed names and the markers behind them: the place of every 256th name.
//!
//! Markers are 32 bits since commit 80ffbaa5b1bd (v4.20), 64 before. They tell whether the bytes before them
//! are names: a walk through the names must meet all of them.

use super::encoding::aligned;
use crate::symbols::{Lengths, MAX_NAME, Tokens};

/// Names from one marker to the next.
const STRIDE: usize = 256;
/// Names whose letters are looked at before a walk through all of them.
const SAMPLE: usize = 64;
/// Letters that `nm` and the kernel give.
const LETTERS: &[u8] = b"aAbBcCdDgGiInNpPrRsStTuUvVwW-?";

/// What a walk through the names found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(super) lengths: Lengths,
    /// Bytes of the names.
    pub(super) len: usize,
    /// From the start of the names to the end of the markers.
    pub(super) behind_markers: usize,
}

/// Whether bytes begin with names: each has a length and one of the letters.
pub(super) fn look_like_names(bytes: &[u8], tokens: &Tokens) -> bool {
    let mut at = 0;
    (0..SAMPLE).all(|_| {
        let Some((head, len)) = Lengths::Long.at(bytes, at) else { return false };
        let letter = bytes.get(at + head).and_then(|it| tokens.get(*it).first());
        at += head + len;
        len != 0 && len <= MAX_NAME && letter.is_some_and(|it| LETTERS.contains(it))
    })
}

/// Walks through `count` names at the start of the bytes and compares the markers behind them. `virt` is the
/// guest-virtual address of the first byte, by which the markers are aligned.
pub(super) fn walk(bytes: &[u8], virt: u64, count: usize) -> Option<Walk> {
    [Lengths::Long, Lengths::Short].into_iter().find_map(|lengths| {
        let (len, places) = places(bytes, count, lengths)?;
        let behind = |to: u64| aligned(virt.saturating_add(len as u64), to).wrapping_sub(virt);
        [(4, behind(4)), (4, behind(8)), (8, behind(8))].into_iter().find_map(|(width, at)| {
            let at = usize::try_from(at).ok()?;
            let behind_markers = at.checked_add(places.len().checked_mul(width)?)?;
            let markers = bytes.get(at..behind_markers)?.chunks_exact(width);
            let read = |it: &[u8]| it.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            let agree = markers.map(read).eq(places.iter().map(|it| u64::from(*it)));
            agree.then_some(Walk { lengths, len, behind_markers })
        })
    })
}

/// Bytes of the names, and the places of every 256th.
fn places(bytes: &[u8], count: usize, lengths: Lengths) -> Option<(usize, Vec<u32>)> {
    let mut places = Vec::new();
    let mut at = 0;
    for number in 0..count {
        if number % STRIDE == 0 {
            places.push(u32::try_from(at).ok()?);
        }
        let (head, len) = lengths.at(bytes, at)?;
        if len == 0 || len > MAX_NAME {
            return None;
        }
        at += head + len;
    }
    (at <= bytes.len()).then_some((at, places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::token_table;

    /// Names and their markers of a width.
    fn table(count: usize, long: bool, width: usize) -> Vec<u8> {
        let (mut bytes, mut markers) = (Vec::new(), Vec::new());
        for number in 0..count {
            if number % STRIDE == 0 {
                markers.extend_from_slice(&(bytes.len() as u64).to_le_bytes()[..width]);
            }
            match number {
                7 if long => bytes.extend_from_slice(&[0x80 | 3, 1]),
                7 => bytes.push(131),
                _ => bytes.push(3),
            }
            bytes.extend_from_slice(b"Tab");
            bytes.resize(bytes.len() + if number == 7 { 128 } else { 0 }, b'x');
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&markers);
        bytes.extend_from_slice(b"behind");
        bytes
    }

    #[test]
    fn markers_tell_how_lengths_are_written() {
        for (long, lengths) in [(true, Lengths::Long), (false, Lengths::Short)] {
            for width in [4, 8] {
                let bytes = table(1000, long, width);
                let found = walk(&bytes, 0x1000, 1000).unwrap();
                assert_eq!((found.lengths, found.behind_markers), (lengths, bytes.len() - 6));
                assert_eq!(found.len, 4000 + 128 + usize::from(long));
            }
        }
    }

    #[test]
    fn another_count_or_another_marker_is_refused() {
        let mut bytes = table(1000, true, 4);
        assert_eq!(walk(&bytes, 0x1000, 700), None);
        assert_eq!(walk(&bytes, 0x1000, 2000), None);
        let last = bytes.len() - 7;
        bytes[last] ^= 1;
        assert_eq!(walk(&bytes, 0x1000, 1000), None);
        assert_eq!(walk(&[], 0x1000, 1000), None);
    }

    #[test]
    fn names_begin_with_letters() {
        let tokens = Tokens::parse(&token_table()).unwrap();
        let bytes = table(100, true, 4);
        assert!(look_like_names(&bytes, &tokens));
        assert!(!look_like_names(&bytes[1..], &tokens));
        assert!(!look_like_names(&bytes[..60], &tokens));
    }
}
