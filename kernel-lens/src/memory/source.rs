//! The one thing that the lens asks of a source of memory.

use super::UserKey;
use crate::ReadError;

/// A run of guest-physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhysRange {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
}

impl PhysRange {
    /// Length in bytes.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether an address lies in it.
    pub fn contains(self, phys: u64) -> bool {
        self.start <= phys && phys < self.end
    }

    /// What it shares with another.
    pub fn overlap(self, other: Self) -> Option<Self> {
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (!both.is_empty()).then_some(both)
    }
}

/// Guest-physical memory.
///
/// A source never makes the guest larger: memory that the guest never touched reads as zeros and stays
/// unpopulated.
pub trait PhysicalMemory {
    /// The ranges that are RAM, ascending, none touching the next.
    fn ranges(&self) -> &[PhysRange];

    /// Fills `buf` with the bytes at `phys`.
    ///
    /// # Errors
    /// [`ReadError::NotRam`] if a byte of it is not RAM, [`ReadError::NotKept`] if the source does not
    /// hold one, [`ReadError::Source`] if the source fails.
    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError>;

    /// The first run at or after `from` that may hold something but zeros; `None` behind the last.
    /// A scan asks this, so that a guest's untouched gigabytes cost nothing.
    fn populated(&self, from: u64) -> Option<PhysRange> {
        let range = self.ranges().iter().find(|it| it.end > from)?;
        Some(PhysRange { start: range.start.max(from), end: range.end })
    }

    /// Bytes of user space that an earlier look was made from; only a minicore has them.
    fn user_text(&self, _key: &UserKey) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_in_what_both_hold() {
        let range = |start, end| PhysRange { start, end };
        assert_eq!(range(0, 10).overlap(range(5, 20)), Some(range(5, 10)));
        assert_eq!(range(0, 10).overlap(range(10, 20)), None);
        assert!(range(3, 2).is_empty());
        assert_eq!(range(3, 2).len(), 0);
    }
}
