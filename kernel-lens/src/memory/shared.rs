//! Bytes of guest memory as the record holds them: megabytes of names and types need no second copy.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// A part of a run of pages, or bytes of their own.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    run: Arc<Box<[u8]>>,
    range: Range<usize>,
}

impl Shared {
    /// A part of a run; what lies behind its end is left out.
    pub(super) fn new(run: Arc<Box<[u8]>>, range: Range<usize>) -> Self {
        Self { run, range }
    }

    /// Leaves out what lies behind the first bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.range.end = self.range.end.min(self.range.start.saturating_add(len));
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.run.get(self.range.clone()).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Shared {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { run: Arc::new(bytes.into()), range }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Vec::new().into()
    }
}
