//! The flattened form of a dump, for writing into a pipe: pieces of the file with their offsets.
//!
//! A header of 4096 bytes (`makedumpfile`, type and version, big-endian words of 64 bits), then pieces: offset
//! and size, big-endian, and the bytes; a size and offset of -1 end it (makedumpfile makedumpfile.h,
//! `makedumpfile_data_header`). A later piece overwrites an earlier one; what none wrote is zeros.

use std::collections::BTreeMap;
use std::io;

use super::damaged;
use crate::source::OpenError;
use crate::source::bytes::ReadAt;
#[cfg(test)]
pub(super) use tests::flatten;

/// What the form begins with.
pub(in crate::source) const SIGNATURE: &[u8] = b"makedumpfile\0\0\0\0";
/// Bytes of the header.
const HEADER: u64 = 4096;
/// Pieces at most: QEMU writes 16 KiB at once, so these are of 64 GiB.
const MAX_PIECES: usize = 4 << 20;

/// The file that the pieces make.
pub(in crate::source) struct Flattened {
    file: Box<dyn ReadAt>,
    /// By offset: length, and where the bytes are. None meets the next.
    pieces: BTreeMap<u64, (u64, u64)>,
    size: u64,
}

impl Flattened {
    /// Reads where the pieces are.
    pub(in crate::source) fn read(file: Box<dyn ReadAt>) -> Result<Self, OpenError> {
        let number = |at, index: usize| {
            let bytes = file.bytes(at, 16).map_err(OpenError::io("the flattened dump"))?;
            let part = bytes.get(index * 8..index * 8 + 8).and_then(|it| it.try_into().ok());
            part.map(u64::from_be_bytes).ok_or(damaged("its stream is cut"))
        };
        if (number(16, 0)?, number(16, 1)?) != (1, 1) {
            return Err(damaged("its stream is of an unknown type or version"));
        }
        let mut all = Self { pieces: BTreeMap::new(), size: 0, file: Box::new(Vec::new()) };
        let mut at = HEADER;
        let mut header = [0; 16];
        let mut count = 0;
        // Without an end mark the writer was interrupted: what is there counts.
        while file.read_at(at, &mut header).is_ok() {
            let (offset, len) = header.split_at(8);
            let word = |it: &[u8]| it.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
            let (offset, len) = (word(offset), word(len));
            if offset == u64::MAX && len == u64::MAX {
                break;
            }
            at += 16;
            let len = len.min(file.size().saturating_sub(at));
            let end = offset.checked_add(len).ok_or(damaged("a piece of its stream lies nowhere"))?;
            // Empty ones too: a sparse file of zeros is full of them.
            count += 1;
            if count > MAX_PIECES {
                return Err(damaged("its stream has too many pieces"));
            }
            if len > 0 {
                all.put(offset, len, at);
                all.size = all.size.max(end);
            }
            at += len;
        }
        all.file = file;
        Ok(all)
    }

    /// Adds a piece over what was there.
    fn put(&mut self, offset: u64, len: u64, at: u64) {
        let end = offset + len;
        // The last that begins before, and all that begin inside, are cut.
        while let Some((&start, &(old, old_at))) = self.pieces.range(..end).next_back() {
            let old_end = start + old;
            if old_end <= offset {
                break;
            }
            self.pieces.remove(&start);
            if old_end > end {
                self.pieces.insert(end, (old_end - end, old_at + (end - start)));
            }
            if start < offset {
                self.pieces.insert(start, (offset - start, old_at));
                break;
            }
        }
        self.pieces.insert(offset, (len, at));
    }
}

impl ReadAt for Flattened {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|it| *it <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let before = self.pieces.range(..=offset).next_back().map(|it| *it.0);
        for (start, (len, at)) in self.pieces.range(before.unwrap_or(offset)..end) {
            let from = offset.max(*start);
            let to = end.min(start + len);
            if from >= to {
                continue;
            }
            let part = buf.get_mut((from - offset) as usize..(to - offset) as usize);
            self.file.read_at(at + (from - start), part.unwrap_or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream of pieces.
    pub(in crate::source::kdump) fn flatten(pieces: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend(1u64.to_be_bytes());
        out.extend(1u64.to_be_bytes());
        out.resize(HEADER as usize, 0);
        for (offset, bytes) in pieces {
            out.extend(offset.to_be_bytes());
            out.extend((bytes.len() as u64).to_be_bytes());
            out.extend(*bytes);
        }
        out.extend([0xff; 16]);
        out
    }

    proptest! {
        #[test]
        fn later_pieces_overwrite_earlier_ones(
            pieces in prop::collection::vec((0..100u64, prop::collection::vec(1..=255u8, 0..40)), 1..12),
            at in 0..100usize, len in 0..60usize,
        ) {
            let mut whole = Vec::new();
            for (offset, bytes) in pieces.iter().filter(|it| !it.1.is_empty()) {
                let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                whole.resize(whole.len().max(to), 0);
                whole[from..to].copy_from_slice(bytes);
            }
            let list: Vec<(u64, &[u8])> = pieces.iter().map(|it| (it.0, it.1.as_slice())).collect();
            let file = Flattened::read(Box::new(flatten(&list))).unwrap();
            prop_assert_eq!(file.size(), whole.len() as u64);
            let mut seen = vec![0; len];
            match whole.get(at..at + len) {
                Some(expected) => {
                    file.read_at(at as u64, &mut seen).unwrap();
                    prop_assert_eq!(seen, expected);
                }
                None => prop_assert!(file.read_at(at as u64, &mut seen).is_err()),
            }
        }
    }

    #[test]
    fn a_sparse_file_without_end_is_refused() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, &flatten(&[])[..HEADER as usize]).unwrap();
        file.set_len(1 << 40).unwrap();
        let bytes = crate::source::FileBytes::new(file).unwrap();
        let refused = Flattened::read(Box::new(bytes)).err().map(|it| it.to_string());
        assert!(refused.unwrap().contains("too many pieces"));
    }

    #[test]
    fn a_stream_that_was_interrupted_is_read_as_far_as_it_goes() {
        let whole = flatten(&[(0, b"abcd"), (8, b"efgh")]);
        let file = Flattened::read(Box::new(whole[..whole.len() - 18].to_vec())).unwrap();
        assert_eq!(file.bytes(0, 20).unwrap(), b"abcd\0\0\0\0ef");
        assert!(Flattened::read(Box::new(whole[..20].to_vec())).is_err());
    }
}
