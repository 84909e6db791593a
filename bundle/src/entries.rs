//! The entries of a packed bundle, one after the other, each within its bounds.

use std::io::Read;
use std::path::Path;

use crate::limits::{Limits, OpenError};
use crate::tar_entry::{self, BLOCK, Entry};
use crate::unpack::Unpack;

/// Zeros behind the last entry: two blocks by POSIX, a record of 20 blocks by GNU tar, which may be
/// told to make larger records.
const MOST_PADDING: u64 = 64 << 10;

/// The entries of a packed bundle.
pub(crate) struct Entries<R: Read> {
    unpack: Unpack<R>,
    entries: usize,
    limits: Limits,
    /// Content of the current entry that was not read.
    content: u64,
    /// What fills that content up to a block.
    padding: u64,
}

/// Opens a packed bundle.
pub(crate) fn entries(path: &Path, limits: &Limits) -> Result<Entries<impl Read>, OpenError> {
    Entries::new(crate::reader::open_plain(path)?, limits)
}

impl<R: Read> Entries<R> {
    /// Reads a packed bundle from anything.
    pub(crate) fn new(source: R, limits: &Limits) -> Result<Entries<R>, OpenError> {
        let unpack = Unpack::new(source, limits)?;
        Ok(Entries { unpack, entries: 0, limits: *limits, content: 0, padding: 0 })
    }

    /// The next entry, whatever was left of the one before is skipped; `None` at the end, after which
    /// nothing follows but padding.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, OpenError> {
        let mut waste = [0u8; 8192];
        let mut left = self.content + self.padding;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(waste.len());
            self.unpack.fill(&mut waste[..part])?;
            left -= part as u64;
        }
        (self.content, self.padding) = (0, 0);
        self.entries += 1;
        Limits::check("the number of entries", self.entries as u64, self.limits.entries as u64 + 2)?;
        let mut block = [0u8; BLOCK];
        self.unpack.fill(&mut block)?;
        let Some(entry) = tar_entry::parse(&block)? else {
            self.unpack.finish(MOST_PADDING)?;
            return Ok(None);
        };
        match &entry {
            Entry::Manifest(size) => self.limits.check_manifest_size(*size)?,
            Entry::Artifact(_, size) => Limits::check("an artifact's size", *size, self.limits.artifact)?,
            Entry::Folder => {}
        }
        self.content = entry.size();
        self.padding = self.content.next_multiple_of(BLOCK as u64) - self.content;
        let announced = self.unpack.unpacked().saturating_add(self.content + self.padding);
        Limits::check("the unpacked size", announced, self.limits.unpacked)?;
        Ok(Some(entry))
    }

    /// All content of the entry that [`Entries::next`] just gave.
    pub(crate) fn content(&mut self) -> Result<Vec<u8>, OpenError> {
        // The size was checked against its bound, which is what may be allocated.
        let mut content = vec![0u8; usize::try_from(self.content).unwrap_or(0)];
        self.unpack.fill(&mut content)?;
        self.content -= content.len() as u64;
        Ok(content)
    }

    /// The next part of that content, as much as `room` holds; empty when there is no more.
    pub(crate) fn part<'a>(&mut self, room: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        let n = usize::try_from(self.content).unwrap_or(usize::MAX).min(room.len());
        let part = &mut room[..n];
        self.unpack.fill(part)?;
        self.content -= part.len() as u64;
        Ok(part)
    }

    /// Bytes so far: packed, unpacked.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.unpack.packed(), self.unpack.unpacked())
    }
}
