//! The header of a BTF blob: where its types, its strings and its layout lie.
//!
//! `include/uapi/linux/btf.h`. The header had 24 bytes up to v7.0; the series "BTF kind layout encoding"
//! added `layout_off` and `layout_len`, so 32. `hdr_len` tells which; a longer one is taken too.

use std::ops::Range;

use super::BtfError;

/// Bytes of the header without the layout.
pub(super) const SHORT: usize = 24;
/// Bytes of a whole blob at most: a kernel built with everything has a fifth.
pub(super) const MAX_LEN: usize = 64 << 20;

/// The parts of a blob, as ranges of its bytes. All lie within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
    /// One entry of four bytes for each kind; empty where there is none.
    pub(super) layout: Range<usize>,
}

impl Header {
    /// Reads it; every part must lie within `len` bytes, which may be more than `blob` has so far.
    pub(super) fn parse(blob: &[u8], len: usize) -> Result<Self, BtfError> {
        match blob.get(..2) {
            Some([0x9f, 0xeb]) => {}
            Some([0xeb, 0x9f]) => return Err(BtfError::BigEndian),
            _ => return Err(BtfError::NotBtf),
        }
        if len > MAX_LEN {
            return Err(BtfError::TooLarge { what: "bytes", limit: MAX_LEN });
        }
        let truncated = |part| BtfError::Truncated { part, len };
        match blob.get(2) {
            Some(1) => {}
            Some(version) => return Err(BtfError::Version { version: *version }),
            None => return Err(truncated("header")),
        }
        let word = |at| u32_at(blob, at).ok_or(truncated("header")).map(|it| it as usize);
        let header_len = word(4)?;
        if header_len < SHORT || header_len > len {
            return Err(truncated("header"));
        }
        let part = |name, at: usize| -> Result<Range<usize>, BtfError> {
            let start = header_len.checked_add(word(at)?).ok_or(truncated(name))?;
            let end = start.checked_add(word(at + 4)?).ok_or(truncated(name))?;
            if end > len { Err(truncated(name)) } else { Ok(start..end) }
        };
        let types = part("table of types", 8)?;
        let strings = part("table of strings", 16)?;
        let layout = if header_len >= SHORT + 8 { part("layout", SHORT)? } else { 0..0 };
        Ok(Self { types, strings, layout })
    }

    /// Where the last part ends: the length of the blob.
    pub(super) fn end(&self) -> usize {
        self.types.end.max(self.strings.end).max(self.layout.end)
    }
}

/// A little-endian word.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}
