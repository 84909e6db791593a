//! Lists of waiters, in the layouts before and since v7.1.

use super::Look;
use crate::{AddressSpace, ReadError};

/// Waiters of one object that are looked at.
const MAX_WAITERS: usize = 4096;

/// Nodes of a list with a head, without the head. `None` if a node does not point back to the one before
/// it: no list, or one that is being changed.
pub(super) fn nodes(space: &AddressSpace<'_>, head: u64) -> Option<Vec<u64>> {
    ring(space, head).ok().flatten().map(|mut all| {
        all.remove(0);
        all
    })
}

/// Nodes of a ring without a head, from `first` on.
pub(super) fn ring(space: &AddressSpace<'_>, first: u64) -> Result<Option<Vec<u64>>, ReadError> {
    let mut found = vec![first];
    let mut at = first;
    loop {
        let next = space.u64(at)?;
        if next & 7 != 0 || space.u64(next.wrapping_add(8))? != at {
            return Ok(None);
        }
        if next == first {
            return Ok(Some(found));
        }
        if found.len() > MAX_WAITERS {
            return Ok(None);
        }
        found.push(next);
        at = next;
    }
}

/// How a kind of lock keeps its waiters.
pub(super) struct WaiterList {
    place: Place,
    /// From a waiter to its node, and to its task.
    node: u64,
    task: u64,
}

#[derive(Clone, Copy)]
enum Place {
    /// `struct list_head wait_list`: up to v7.0.
    Headed(u64),
    /// A pointer to the first of a ring: since v7.1 (commit 25500ba7e77c for mutexes).
    First(u64),
}

impl WaiterList {
    /// The layout of `lock`'s list of `waiter`s; `None` if this kernel has neither form.
    pub(super) fn of(look: &Look<'_, '_>, lock: &str, waiter: &str) -> Option<Self> {
        let offset = |member| look.kernel.offset(lock, member);
        let place =
            offset("first_waiter").map(Place::First).or_else(|| offset("wait_list").map(Place::Headed))?;
        let of_waiter = |member| look.kernel.offset(waiter, member);
        Some(Self { place, node: of_waiter("list")?, task: of_waiter("task")? })
    }

    /// The tasks in the list of the lock at an address, by their `task_struct`s. `None` if it is no list of
    /// tasks: one wrong entry and it is none.
    pub(super) fn tasks(&self, look: &Look<'_, '_>, lock: u64) -> Option<Vec<u64>> {
        let space = &look.kernel.space;
        let nodes = match self.place {
            Place::Headed(offset) => nodes(space, lock.checked_add(offset)?)?,
            Place::First(offset) => {
                let first = space.u64(lock.checked_add(offset)?).ok().filter(|it| *it != 0)?;
                ring(space, first.checked_add(self.node)?).ok().flatten()?
            }
        };
        nodes
            .into_iter()
            .map(|node| {
                let waiter = node.checked_sub(self.node)?;
                let task = space.u64(waiter.checked_add(self.task)?).ok()?;
                look.tasks.at(task).map(|_| task)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::space;
    use super::*;
    use crate::Recorder;
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn a_list_is_followed_and_a_torn_one_is_none() {
        let memory = TestMemory::new(0x20000);
        let at = space::map(&memory);
        for (node, next, before) in [(0x100, 0x140, 0x180), (0x140, 0x180, 0x100), (0x180, 0x100, 0x140)] {
            memory.write_u64(space::PHYS + node, at + next);
            memory.write_u64(space::PHYS + node + 8, at + before);
        }
        let recorder = Recorder::new(&memory);
        let space = space::of(&recorder);
        assert_eq!(nodes(&space, at + 0x100), Some(vec![at + 0x140, at + 0x180]));
        assert_eq!(nodes(&space, at + 0x200), None, "a null pointer is no list");
        memory.write_u64(space::PHYS + 0x188, at + 0x100);
        let recorder = Recorder::new(&memory);
        let space = space::of(&recorder);
        assert_eq!(nodes(&space, at + 0x100), None);
    }

    #[test]
    fn a_ring_that_never_comes_back_ends() {
        let memory = TestMemory::new(0x20000);
        let at = space::map(&memory);
        // Each node leads to the next 16 bytes on, for as far as there is memory.
        for node in (0..0x8000u64).step_by(16) {
            memory.write_u64(space::PHYS + node, at + node + 16);
            memory.write_u64(space::PHYS + node + 24, at + node);
        }
        let recorder = Recorder::new(&memory);
        assert!(!matches!(ring(&space::of(&recorder), at), Ok(Some(_))));
    }
}
