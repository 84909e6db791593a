//! Finds the `task_struct` of every thread.

use std::collections::HashSet;

use super::{again::Again, layout::Layout};
use crate::{AddressSpace, ReadError};

/// What a walk found, and what it could not.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Each task with the leader of its thread group.
    pub(super) found: Vec<(u64, u64)>,
    /// Lists that led nowhere, or to what does not lead back, even at a second look.
    pub(super) broken: u32,
    /// There were more than was allowed.
    pub(super) truncated: bool,
}

/// Walks `init_task.tasks`, and of each process its threads.
pub(super) fn every_thread(
    space: &AddressSpace<'_>,
    layout: &Layout,
    again: &Again,
    init_task: u64,
    max: usize,
) -> Walk {
    let mut walk = Walk::default();
    let mut seen = HashSet::new();
    let head = init_task.wrapping_add(layout.tasks);
    let leaders = List { space, again, head, skipped: None, seen: &mut seen, max, walk: &mut walk }.all();
    let leaders: Vec<u64> = leaders.iter().map(|it| it.wrapping_sub(layout.tasks)).collect();
    let mut tasks: HashSet<u64> = leaders.iter().copied().collect();
    // No node is on the rings of two processes: a walk that meets another's ends, so that all of them
    // together are no longer than there are nodes.
    seen.clear();
    for leader in leaders {
        if walk.found.len() >= max {
            walk.truncated = true;
            break;
        }
        walk.found.push((leader, leader));
        let Some(node) = layout.thread_node.or(layout.thread_group) else { continue };
        let head = leader.wrapping_add(node);
        // The ring of threads goes through the head in `signal`, which is no thread.
        let skipped = layout
            .thread_node
            .and(layout.signal.offset())
            .and_then(|at| Some(space.u64(leader.wrapping_add(at)).ok()?.wrapping_add(layout.thread_head)));
        let left = max - walk.found.len();
        let list = List { space, again, head, skipped, seen: &mut seen, max: left, walk: &mut walk };
        for node_at in list.all() {
            let task = node_at.wrapping_sub(node);
            if tasks.insert(task) {
                walk.found.push((task, leader));
            }
        }
    }
    walk
}

/// A ring of `list_head`, without its head.
struct List<'a, 'm> {
    space: &'a AddressSpace<'m>,
    again: &'a Again,
    head: u64,
    /// One more node that is only a head.
    skipped: Option<u64>,
    seen: &'a mut HashSet<u64>,
    max: usize,
    walk: &'a mut Walk,
}

impl List<'_, '_> {
    /// The nodes forwards from the head; where that way is broken, those backwards as well.
    fn all(mut self) -> Vec<u64> {
        let (mut nodes, whole) = self.one_way(0, 8);
        if !whole && !self.walk.truncated {
            self.walk.broken += 1;
            let (behind, _) = self.one_way(8, 0);
            nodes.extend(behind.iter().rev());
        }
        nodes
    }

    /// Follows the word at `next` of each node, and sees that the one at `back` leads back.
    /// Also says whether it came round to the head.
    fn one_way(&mut self, next: u64, back: u64) -> (Vec<u64>, bool) {
        let mut nodes = Vec::new();
        let mut at = self.head;
        loop {
            let Ok(following) = self.step(at, next, back) else { return (nodes, false) };
            if following == self.head {
                return (nodes, true);
            }
            if !self.seen.insert(following) {
                return (nodes, false);
            }
            if nodes.len() >= self.max {
                self.walk.truncated = true;
                return (nodes, false);
            }
            if Some(following) != self.skipped {
                nodes.push(following);
            }
            at = following;
        }
    }

    fn step(&self, at: u64, next: u64, back: u64) -> Result<u64, ReadError> {
        let once = || {
            let following = self.space.u64(at.wrapping_add(next))?;
            let returns = self.space.u64(following.wrapping_add(back))?;
            if returns == at && following % 8 == 0 {
                Ok(following)
            } else {
                Err(ReadError::Inconsistent { what: "the list of tasks", virt: at })
            }
        };
        once().or_else(|error| {
            if !self.again.forget(self.space, at, 16) {
                return Err(error);
            }
            let following = self.space.u64(at.wrapping_add(next))?;
            if !self.again.forget(self.space, following, 16) {
                return Err(error);
            }
            once()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recorder;
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;

    /// Memory at address 0 of the kernel, and rings of nodes in it.
    fn memory(rings: &[&[u64]]) -> TestMemory {
        let memory = TestMemory::new(0x20_0000);
        // One page table of 2 MiB pages that maps everything to itself.
        for (at, to) in [(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x83)] {
            memory.write_u64(at, to);
        }
        for ring in rings {
            for (n, node) in ring.iter().enumerate() {
                let next = ring[(n + 1) % ring.len()];
                memory.write_u64(*node, next);
                memory.write_u64(next + 8, *node);
            }
        }
        memory
    }

    fn walk(memory: &TestMemory, max: usize) -> (Vec<u64>, u32, bool) {
        let recorder = Recorder::new(memory);
        let space =
            AddressSpace::new(&recorder, Paging::X86_64(X86Paging { root: 0x1000, five_levels: false }));
        let (again, mut walk) = (Again::new(), Walk::default());
        let mut seen = HashSet::new();
        let list = List {
            space: &space,
            again: &again,
            head: 0x10000,
            skipped: Some(0x13000),
            seen: &mut seen,
            max,
            walk: &mut walk,
        };
        (list.all(), walk.broken, walk.truncated)
    }

    const RING: &[u64] = &[0x10000, 0x11000, 0x12000, 0x13000, 0x14000];

    #[test]
    fn a_ring_is_walked_once_without_its_heads() {
        assert_eq!(walk(&memory(&[RING]), 100), (vec![0x11000, 0x12000, 0x14000], 0, false));
        assert_eq!(walk(&memory(&[&[0x10000]]), 100), (vec![], 0, false));
    }

    #[test]
    fn where_the_way_is_broken_the_other_way_is_taken() {
        let memory = memory(&[RING]);
        memory.write_u64(0x11000, 0xdead_0000_0000_0100);
        assert_eq!(walk(&memory, 100), (vec![0x11000, 0x12000, 0x14000], 1, false));
    }

    #[test]
    fn a_ring_that_never_comes_round_ends() {
        let memory = memory(&[RING]);
        // 0x14000 leads back into the ring instead of to its head.
        memory.write_u64(0x14000, 0x12000);
        memory.write_u64(0x12008, 0x14000);
        let (nodes, broken, _) = walk(&memory, 100);
        assert!(nodes.len() <= 3 && broken == 1, "{nodes:x?}");
    }

    #[test]
    fn more_than_is_allowed_is_cut() {
        assert_eq!(walk(&memory(&[RING]), 2), (vec![0x11000, 0x12000], 0, true));
    }
}
