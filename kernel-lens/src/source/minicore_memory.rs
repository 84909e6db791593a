//! The memory of a minicore: its pages, and the bytes of user space that its result was made from.

use super::ReadAt;
use super::segments::SegmentMemory;
use crate::{PhysRange, PhysicalMemory, ReadError, UserKey, UserTexts};

/// Pages and texts.
pub(super) struct MinicoreMemory<R> {
    pages: SegmentMemory<R>,
    texts: UserTexts,
}

impl<R> MinicoreMemory<R> {
    pub(super) fn new(pages: SegmentMemory<R>, texts: UserTexts) -> Self {
        Self { pages, texts }
    }
}

impl<R: ReadAt> PhysicalMemory for MinicoreMemory<R> {
    fn ranges(&self) -> &[PhysRange] {
        self.pages.ranges()
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.pages.read(phys, buf)
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        self.pages.populated(from)
    }

    fn user_text(&self, key: &UserKey) -> Option<&[u8]> {
        self.texts.get(key)
    }
}
