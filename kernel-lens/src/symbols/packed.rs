//! Names as the kernel keeps them: bytes that stand for tokens. They are unpacked when they are asked for.
//!
//! `scripts/kallsyms.c` of the kernel writes each name as a length and as many bytes, each the number of a
//! token of a table of 256; the first letter of the first token is the letter of `nm`. Since commit
//! 73bbb94466fd (v6.1) a length of 128 or more takes two bytes, seven bits and then the rest.

use std::cell::OnceCell;

use super::hash::Hash;
use crate::memory::Shared;

/// Letters of a name at most: `KSYM_NAME_LEN` since v6.1, 128 before.
pub(crate) const MAX_NAME: usize = 512;
/// Names that are unpacked at once.
const BLOCK: usize = 16;
/// Names of which the first one's place is kept, as the kernel's own markers do.
const STRIDE: usize = 256;
/// Blocks of a stride.
const BLOCKS: usize = STRIDE / BLOCK;

/// Names of one stride, unpacked when they are asked for.
type Unpacked = OnceCell<Box<[OnceCell<Box<str>>; BLOCKS]>>;

/// The texts that the bytes of names stand for.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    text: Vec<u8>,
    /// Places of the tokens in the text.
    places: Vec<(u32, u32)>,
    /// Hashes of the tokens, and of the same without their first letters.
    hashes: Vec<(Hash, Hash)>,
}

impl Tokens {
    /// Number of tokens of a table.
    pub(crate) const COUNT: usize = 256;

    /// Takes a table: texts that each end in NUL. `None` if it ends before all of them.
    pub(crate) fn parse(table: &[u8]) -> Option<Self> {
        let mut tokens = Self::default();
        let mut at = 0;
        for _ in 0..Self::COUNT {
            let rest = table.get(at..)?;
            let token = &rest[..memchr::memchr(0, rest)?];
            let behind = at + token.len();
            tokens.places.push((u32::try_from(at).ok()?, u32::try_from(behind).ok()?));
            tokens.hashes.push((Hash::of(token), Hash::of(token.get(1..).unwrap_or_default())));
            at = behind + 1;
        }
        tokens.text = table[..at].to_vec();
        Some(tokens)
    }

    /// The text of a token.
    pub(crate) fn get(&self, token: u8) -> &[u8] {
        let place = self.places.get(usize::from(token));
        place.and_then(|(from, to)| self.text.get(*from as usize..*to as usize)).unwrap_or_default()
    }

    /// Bytes of the table.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The letter of `nm` that a name begins with.
    fn kind(&self, packed: &[u8]) -> u8 {
        packed.first().and_then(|it| self.get(*it).first()).copied().unwrap_or(b'?')
    }

    /// The pieces of a name without its letter.
    fn pieces<'a>(&'a self, packed: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        packed.iter().enumerate().map(|(at, token)| {
            let piece = self.get(*token);
            if at == 0 { piece.get(1..).unwrap_or_default() } else { piece }
        })
    }
}

/// How lengths of names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// One byte, any value.
    Short,
    /// Two bytes from 128 on.
    Long,
}

impl Lengths {
    /// Bytes of the length at a place, and the length. `None` behind the end.
    #[inline]
    pub(crate) fn at(self, names: &[u8], place: usize) -> Option<(usize, usize)> {
        let first = usize::from(*names.get(place)?);
        if first & 0x80 == 0 || self == Self::Short {
            return Some((1, first));
        }
        let second = usize::from(*names.get(place + 1)?);
        Some((2, first & 0x7f | second << 7))
    }
}

/// All names of an image, packed.
#[derive(Debug)]
pub(crate) struct PackedNames {
    bytes: Shared,
    lengths: Lengths,
    tokens: Tokens,
    count: usize,
    /// The place of every 256th name's length.
    markers: Vec<u32>,
    /// Numbers of names in an order other than the table's.
    order: Option<Vec<u32>>,
    unpacked: Vec<Unpacked>,
}

impl PackedNames {
    /// Takes `count` names that lie one behind another; fewer, if the bytes end or make no sense before.
    pub(crate) fn new(bytes: Shared, count: usize, lengths: Lengths, tokens: Tokens) -> Self {
        let mut markers = Vec::new();
        let (mut at, mut found) = (0, 0);
        while found < count {
            let Some((head, len)) = lengths.at(&bytes, at) else { break };
            let (Ok(place), behind) = (u32::try_from(at), at + head + len) else { break };
            if len == 0 || behind > bytes.len() {
                break;
            }
            if found % STRIDE == 0 {
                markers.push(place);
            }
            found += 1;
            at = behind;
        }
        Self::known(bytes, found, lengths, tokens, markers)
    }

    /// The same where the places of every 256th name are known.
    pub(crate) fn known(
        bytes: Shared,
        count: usize,
        lengths: Lengths,
        tokens: Tokens,
        markers: Vec<u32>,
    ) -> Self {
        let unpacked = vec![OnceCell::new(); count.div_ceil(STRIDE)];
        Self { bytes, lengths, tokens, count, markers, order: None, unpacked }
    }

    /// The places of every 256th name.
    pub(crate) fn markers(&self) -> &[u32] {
        &self.markers
    }

    /// Bytes of the table of tokens.
    pub(crate) fn tokens_len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the names stand in the table's own order.
    pub(crate) fn is_in_order(&self) -> bool {
        self.order.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.as_ref().map_or(self.count, Vec::len)
    }

    /// Puts the names into another order, given by their numbers.
    pub(crate) fn reorder(&mut self, mut order: Vec<u32>) {
        order.retain(|it| (*it as usize) < self.count);
        self.unpacked = vec![OnceCell::new(); order.len().div_ceil(STRIDE)];
        self.order = Some(order);
    }

    /// The names from one on, packed, in the table's order.
    fn from(&self, number: usize) -> impl Iterator<Item = &[u8]> {
        let marker = self.markers.get(number / STRIDE).map_or(usize::MAX, |it| *it as usize);
        let mut at = marker;
        let rest = (number - number % STRIDE..self.count).map_while(move |_| {
            let (head, len) = self.lengths.at(&self.bytes, at)?;
            let name = self.bytes.get(at + head..at + head + len)?;
            at += head + len;
            Some(name)
        });
        rest.skip(number % STRIDE)
    }

    #[inline]
    fn packed(&self, index: usize) -> &[u8] {
        let number = match &self.order {
            Some(order) => order.get(index).map_or(usize::MAX, |it| *it as usize),
            None => index,
        };
        if number >= self.count {
            return &[];
        }
        self.from(number).next().unwrap_or_default()
    }

    /// The hashes of all names, by their number.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = Hash> {
        let in_order = if self.is_in_order() { self.count } else { 0 };
        let others = (in_order..self.len()).map(|it| self.packed(it));
        self.from(0).take(in_order).chain(others).map(|it| self.hash_of(it))
    }

    pub(crate) fn kind(&self, index: usize) -> u8 {
        self.tokens.kind(self.packed(index))
    }

    pub(crate) fn is(&self, index: usize, name: &str) -> bool {
        let mut rest = name.as_bytes();
        for piece in self.tokens.pieces(self.packed(index)) {
            match rest.strip_prefix(piece) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        rest.is_empty()
    }

    fn hash_of(&self, packed: &[u8]) -> Hash {
        let Some((first, others)) = packed.split_first() else { return Hash::of(b"") };
        let hashes = &self.tokens.hashes;
        let first = hashes.get(usize::from(*first)).map_or_else(|| Hash::of(b""), |it| it.1);
        others.iter().filter_map(|it| hashes.get(usize::from(*it))).fold(first, |hash, it| hash.then(it.0))
    }

    /// A name's text. Bytes that are no text are replaced.
    pub(crate) fn name(&self, index: usize) -> &str {
        let Some(stride) = self.unpacked.get(index / STRIDE) else { return "" };
        let stride = stride.get_or_init(Box::default);
        let Some(block) = stride.get(index % STRIDE / BLOCK) else { return "" };
        let block = block.get_or_init(|| self.unpack(index / BLOCK * BLOCK));
        block.split('\0').nth(index % BLOCK).unwrap_or_default()
    }

    /// The names of a block, with a NUL behind each: no token has one.
    fn unpack(&self, from: usize) -> Box<str> {
        let mut text = Vec::new();
        let mut put = |packed: &[u8]| {
            let start = text.len();
            for piece in self.tokens.pieces(packed) {
                text.extend_from_slice(piece);
                if text.len() - start >= MAX_NAME {
                    text.truncate(start + MAX_NAME);
                    break;
                }
            }
            text.push(0);
        };
        match &self.order {
            Some(_) => (from..(from + BLOCK).min(self.len())).for_each(|it| put(self.packed(it))),
            None => self.from(from).take(BLOCK).for_each(put),
        }
        String::from_utf8_lossy(&text).into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table in which each digit and letter stands for itself, and 200 for `_start`, 201 for `Tsys`.
    pub(crate) fn token_table() -> Vec<u8> {
        let mut table = Vec::new();
        for token in 0..=255u8 {
            match token {
                200 => table.extend_from_slice(b"_start"),
                201 => table.extend_from_slice(b"Tsys"),
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' => table.push(token),
                _ => table.extend_from_slice(b"unused"),
            }
            table.push(0);
        }
        table
    }

    fn names() -> PackedNames {
        let mut bytes = vec![2, 201, 200, 3, b't', b'a', 200, 2, b'D', b'x', 0x80 | 5, 1, b'T'];
        bytes.extend_from_slice(&[b'y'; 132]);
        PackedNames::new(bytes.into(), 100, Lengths::Long, Tokens::parse(&token_table()).unwrap())
    }

    #[test]
    fn names_are_unpacked_when_asked_for() {
        let names = names();
        assert_eq!(names.len(), 4);
        assert_eq!([names.name(1), names.name(0), names.name(2)], ["a_start", "sys_start", "x"]);
        assert_eq!(names.name(3), "y".repeat(132));
        assert_eq!(names.name(4), "");
        assert_eq!((0..4).map(|it| names.kind(it)).collect::<Vec<_>>(), b"TtDT");
    }

    #[test]
    fn packed_names_are_compared_and_hashed_like_texts() {
        let names = names();
        for index in 0..names.len() {
            let name = names.name(index);
            assert!(names.is(index, name) && !names.is(index, "other") && !names.is(index, &name[1..]));
            assert_eq!(names.hashes().nth(index).unwrap(), Hash::of(name.as_bytes()));
        }
    }

    #[test]
    fn another_order_keeps_the_names() {
        let mut names = names();
        assert_eq!(names.name(2), "x");
        names.reorder(vec![2, 0, 9, 1]);
        assert_eq!((0..4).map(|it| names.name(it)).collect::<Vec<_>>(), ["x", "sys_start", "a_start", ""]);
    }

    #[test]
    fn names_far_behind_the_first_are_found_by_the_markers() {
        let bytes: Vec<u8> =
            (0..1000).flat_map(|it| [3, b't', b'0' + (it % 10) as u8, b'a' + (it / 256) as u8]).collect();
        let tokens = || Tokens::parse(&token_table()).unwrap();
        let names = PackedNames::new(bytes.clone().into(), 1000, Lengths::Long, tokens());
        assert_eq!(names.markers(), [0, 1024, 2048, 3072]);
        assert_eq!(
            [names.name(0), names.name(255), names.name(256), names.name(999)],
            ["0a", "5a", "6b", "9d"]
        );
        assert_eq!((names.name(1000), names.kind(1000)), ("", b'?'));
        let known = PackedNames::known(bytes.into(), 1000, Lengths::Long, tokens(), names.markers().to_vec());
        assert!((0..1000).all(|it| known.name(it) == names.name(it)));
        // A marker that lies leads to other names and to no harm.
        let wild = PackedNames::known(vec![1, 2, 3].into(), 1000, Lengths::Long, tokens(), vec![0, u32::MAX]);
        assert_eq!((wild.name(300), wild.name(999), wild.hashes().count()), ("", "", 1), "{wild:?}");
    }

    #[test]
    fn a_table_without_an_end_is_none() {
        assert!(Tokens::parse(&token_table()[..500]).is_none());
        assert!(Tokens::parse(&[0; 255]).is_none());
        assert_eq!(Tokens::parse(&[0; 300]).unwrap().len(), 256);
    }
}
