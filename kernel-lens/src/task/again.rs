//! A second look at memory that a running guest was writing while it was read.

use std::cell::Cell;

use crate::{AddressSpace, PAGE_SIZE, PhysRange};

/// Second looks of one examination: a guest whose every task is torn is hostile, not busy.
const MAX_LOOKS: u32 = 256;

/// How many second looks are left.
pub(super) struct Again(Cell<u32>);

impl Again {
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_LOOKS))
    }

    /// Lets the next read of a run of memory see what is there now; `false` if there were too many.
    pub(super) fn forget(&self, space: &AddressSpace<'_>, virt: u64, len: u64) -> bool {
        let Some(left) = self.0.get().checked_sub(1) else { return false };
        self.0.set(left);
        let first = virt - virt % PAGE_SIZE;
        let pages = (virt % PAGE_SIZE + len.min(PAGE_SIZE * 16)).div_ceil(PAGE_SIZE);
        for page in 0..pages {
            if let Ok(start) = space.phys(first.wrapping_add(page * PAGE_SIZE)) {
                space.memory().forget(PhysRange { start, end: start.saturating_add(PAGE_SIZE) });
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recorder;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn a_second_look_sees_what_was_written_since_and_there_are_not_endlessly_many() {
        let memory = TestMemory::new(0x10000);
        for (at, to) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003), (0x4008, 0x9003)] {
            memory.write_u64(at, to);
        }
        let recorder = Recorder::new(&memory);
        let space =
            AddressSpace::new(&recorder, Paging::X86_64(X86Paging { root: 0x1000, five_levels: false }));
        assert_eq!(space.u64(0x1010).unwrap(), 0);
        memory.write_u64(0x9010, 7);
        assert_eq!(space.u64(0x1010).unwrap(), 0);
        let again = Again::new();
        assert!(again.forget(&space, 0x1010, 8));
        assert_eq!(space.u64(0x1010).unwrap(), 7);
        assert_eq!((0..1000).filter(|_| again.forget(&space, 0x1010, u64::MAX)).count(), 255);
    }
}
