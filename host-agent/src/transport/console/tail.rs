//! The newest bytes of a console in memory, with positions that count from the agent's start.
//!
//! Readers keep a position and ask for what came after it: a reader that is too slow misses bytes and
//! is told how many, and nobody's slowness costs memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes kept in memory for each console.
pub const TAIL: usize = 256 << 10;

/// A piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// Position of the first byte.
    pub from: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Bytes between the asked position and `from` that are gone.
    pub missed: u64,
}

impl Piece {
    /// Position after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

#[derive(Debug)]
pub(super) struct Tail {
    bytes: Mutex<(VecDeque<u8>, u64)>,
    end: watch::Sender<u64>,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self { bytes: Mutex::default(), end: watch::Sender::new(0) }
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let end = {
            let mut guard = self.lock();
            let (ring, end) = &mut *guard;
            let keep = bytes.get(bytes.len().saturating_sub(TAIL)..);
            ring.extend(keep.unwrap_or_default());
            let excess = ring.len().saturating_sub(TAIL);
            ring.drain(..excess);
            *end += bytes.len() as u64;
            *end
        };
        self.end.send_replace(end);
    }

    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// At most `max` bytes from `position` on.
    pub(super) fn read(&self, position: u64, max: usize) -> Piece {
        let guard = self.lock();
        let (ring, end) = &*guard;
        let start = end.saturating_sub(ring.len() as u64);
        let from = position.clamp(start, *end);
        let skip = usize::try_from(from - start).unwrap_or(usize::MAX);
        Piece {
            from,
            bytes: ring.iter().skip(skip).take(max).copied().collect(),
            missed: from.saturating_sub(position),
        }
    }

    /// Waits until there is something after `position`; false when `within` passes first.
    pub(super) async fn beyond(&self, position: u64, within: Duration) -> bool {
        let mut watcher = self.end.subscribe();
        let more = watcher.wait_for(|end| *end > position);
        matches!(timeout(within, more).await, Ok(Ok(_)))
    }

    fn lock(&self) -> MutexGuard<'_, (VecDeque<u8>, u64)> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let tail = Tail::new();
        tail.push(b"abc");
        assert_eq!(tail.read(1, 10).bytes, b"bc");
        tail.push(&vec![b'x'; TAIL]);
        let piece = tail.read(1, 4);
        assert_eq!((piece.from, piece.missed), (3, 2));
        assert_eq!(piece.bytes, b"xxxx");
        assert_eq!(tail.read(u64::MAX, 4).bytes, b"");
        assert_eq!(tail.end(), 3 + TAIL as u64);
    }
}
