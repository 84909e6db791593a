//! The stacks that a task may be on, and the path of one unwinder over them.

use std::cell::Cell;

use super::frame::BadFrame;
use crate::AddressSpace;

/// Stacks that one path visits at most: task, interrupt, exceptions, entry.
const MAX_VISITED: usize = 8;

/// One stack: lowest address and the first behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stack {
    pub(super) low: u64,
    pub(super) end: u64,
}

impl Stack {
    /// A stack by its lowest address and length; `None` if it has none.
    pub(super) fn new(low: u64, len: u64) -> Option<Self> {
        let end = low.checked_add(len)?;
        (low != 0 && len != 0).then_some(Self { low, end })
    }

    /// Whether `len` bytes at an address lie in it.
    pub(super) fn holds(self, at: u64, len: u64) -> bool {
        at >= self.low && at.checked_add(len).is_some_and(|end| end <= self.end)
    }
}

/// A walk over stacks. The stack pointer only rises on each, and none is entered twice, so that it ends.
pub(super) struct Path<'p, 'm> {
    space: &'p AddressSpace<'m>,
    /// Those of all CPUs, ascending.
    shared: &'p [Stack],
    /// The task's own.
    own: Cell<Option<Stack>>,
    /// Bytes of a task's stack: finds its bounds where the task is not known.
    thread_size: u64,
    visited: Vec<Stack>,
    sp: u64,
}

impl<'p, 'm> Path<'p, 'm> {
    /// Begins nowhere.
    pub(super) fn new(
        space: &'p AddressSpace<'m>,
        shared: &'p [Stack],
        own: Option<Stack>,
        thread_size: u64,
    ) -> Self {
        Self { space, shared, own: Cell::new(own), thread_size, visited: Vec::new(), sp: 0 }
    }

    /// The stack pointer.
    pub(super) fn sp(&self) -> u64 {
        self.sp
    }

    /// The task's own stack.
    pub(super) fn own(&self) -> Option<Stack> {
        self.own.get()
    }

    /// The stack that it is on.
    pub(super) fn current(&self) -> Option<Stack> {
        self.visited.last().copied()
    }

    /// Goes to a higher address of the same stack, or to one that was not visited.
    pub(super) fn go(&mut self, sp: u64) -> Result<(), BadFrame> {
        if let Some(current) = self.current()
            && current.holds(sp, 0)
        {
            if sp <= self.sp {
                return Err(BadFrame::NotRising(sp));
            }
            self.sp = sp;
            return Ok(());
        }
        let next = self.find(sp, 0).ok_or(BadFrame::OutsideStack(sp))?;
        if self.visited.len() >= MAX_VISITED || self.visited.contains(&next) {
            return Err(BadFrame::NotRising(sp));
        }
        self.visited.push(next);
        self.sp = sp;
        Ok(())
    }

    /// A word on a known stack.
    pub(super) fn word(&self, at: u64) -> Result<u64, BadFrame> {
        let [word] = self.words(at)?;
        Ok(word)
    }

    /// Words that lie on one known stack.
    pub(super) fn words<const N: usize>(&self, at: u64) -> Result<[u64; N], BadFrame> {
        let len = N as u64 * 8;
        if !at.is_multiple_of(8) || self.find(at, len).is_none() {
            return Err(BadFrame::OutsideStack(at));
        }
        words(self.space, at)
    }

    fn find(&self, at: u64, len: u64) -> Option<Stack> {
        let shared = || {
            let behind = self.shared.partition_point(|it| it.low <= at);
            let nearest = *self.shared.get(behind.checked_sub(1)?)?;
            nearest.holds(at, len).then_some(nearest)
        };
        let own = self.own().filter(|it| it.holds(at, len));
        own.or_else(shared).or_else(|| self.adopt(at).filter(|it| it.holds(at, len)))
    }

    /// The bounds of a task's stack, where the task is not known: stacks are aligned to their length
    /// (`THREAD_ALIGN`; `INIT_TASK_DATA`).
    fn adopt(&self, at: u64) -> Option<Stack> {
        if self.own().is_some() || !self.thread_size.is_power_of_two() {
            return None;
        }
        self.own.set(Stack::new(at & !(self.thread_size - 1), self.thread_size));
        self.own()
    }
}

/// Words of guest memory.
pub(super) fn words<const N: usize>(space: &AddressSpace<'_>, at: u64) -> Result<[u64; N], BadFrame> {
    let mut bytes = [[0u8; 8]; N];
    space.read(at, bytes.as_flattened_mut()).map_err(|_| BadFrame::Unreadable(at))?;
    Ok(bytes.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::TestKernel;
    use super::*;

    #[test]
    fn a_path_rises_and_never_comes_back() {
        let kernel = TestKernel::new();
        kernel.with(|space| {
            let shared = [Stack::new(0x8000, 0x1000).unwrap()];
            let mut path = Path::new(space, &shared, Stack::new(0x4000, 0x1000), 0x1000);
            path.go(0x8800).unwrap();
            assert_eq!(path.go(0x8800), Err(BadFrame::NotRising(0x8800)));
            assert_eq!(path.go(0x9008), Err(BadFrame::OutsideStack(0x9008)));
            path.go(0x4800).unwrap();
            path.go(0x5000).unwrap();
            assert_eq!(path.go(0x8ff0), Err(BadFrame::NotRising(0x8ff0)));
        });
    }

    #[test]
    fn words_are_read_only_inside_of_stacks() {
        let kernel = TestKernel::new();
        kernel.write(0x4ff8, &[7]);
        kernel.with(|space| {
            let path = Path::new(space, &[], Stack::new(0x4000, 0x1000), 0x1000);
            assert_eq!(path.word(0x4ff8), Ok(7));
            assert_eq!(path.words::<2>(0x4ff8), Err(BadFrame::OutsideStack(0x4ff8)));
            assert_eq!(path.word(0x4ff1), Err(BadFrame::OutsideStack(0x4ff1)));
            assert_eq!(path.word(u64::MAX - 7), Err(BadFrame::OutsideStack(u64::MAX - 7)));
        });
    }

    #[test]
    fn the_stack_of_an_unknown_task_is_found_by_its_alignment_once() {
        let kernel = TestKernel::new();
        kernel.with(|space| {
            let mut path = Path::new(space, &[], None, 0x4000);
            path.go(0x5010).unwrap();
            assert_eq!(path.current(), Stack::new(0x4000, 0x4000));
            assert_eq!(path.go(0x9000), Err(BadFrame::OutsideStack(0x9000)));
        });
    }
}
