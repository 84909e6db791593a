//! One look at all waits: what its readers share, read when it is first asked for.

use std::cell::{Cell, OnceCell};

use vmward_kernel_facts::machine::{Rcu, SuperBlock};
use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::files::Pipes;
use super::request::Requests;
use super::sleeper::{Sleeper, StackLayout};
use crate::machine::{mounts, rcu};
use crate::task::Tasks;
use crate::{Kernel, PAGE_SIZE, PhysRange};

/// Second looks at most: a guest whose every wait changes is hostile, not busy.
const MAX_SECOND_LOOKS: u32 = 512;

/// One look at all waits.
pub(crate) struct Look<'k, 'm> {
    pub(super) kernel: &'k Kernel<'m>,
    pub(super) tasks: &'k Tasks,
    pub(super) stacks: StackLayout,
    requests: OnceCell<Requests>,
    pipes: OnceCell<Pipes>,
    rcu: OnceCell<Option<Rcu>>,
    super_blocks: OnceCell<Vec<SuperBlock>>,
    second_looks: Cell<u32>,
    moved: Cell<usize>,
}

impl<'k, 'm> Look<'k, 'm> {
    pub(super) fn new(kernel: &'k Kernel<'m>, tasks: &'k Tasks) -> Self {
        Self {
            kernel,
            tasks,
            stacks: StackLayout::new(kernel),
            requests: OnceCell::new(),
            pipes: OnceCell::new(),
            rcu: OnceCell::new(),
            super_blocks: OnceCell::new(),
            second_looks: Cell::new(MAX_SECOND_LOOKS),
            moved: Cell::new(0),
        }
    }

    /// The requests that disks owe.
    pub(super) fn requests(&self) -> &Requests {
        self.requests.get_or_init(|| Requests::read(self.kernel))
    }

    /// Who has which end of which pipe.
    pub(super) fn pipes(&self) -> &Pipes {
        self.pipes.get_or_init(|| Pipes::read(self))
    }

    /// The state of RCU.
    pub(super) fn rcu(&self) -> Option<&Rcu> {
        self.rcu.get_or_init(|| rcu::read(self.kernel).ok()).as_ref()
    }

    /// All file systems.
    pub(super) fn super_blocks(&self) -> &[SuperBlock] {
        self.super_blocks
            .get_or_init(|| mounts::read(self.kernel).map(|it| it.super_blocks).unwrap_or_default())
    }

    /// Thread id of the task at an address that may carry flags in its low bits.
    pub(super) fn owner(&self, word: u64) -> Option<u32> {
        self.tasks.at(word & !7).and_then(|it| it.task.pid)
    }

    /// An edge from a sleeper to an object that passed its test.
    pub(super) fn edge(
        &self,
        sleeper: &Sleeper<'_>,
        kind: WaitKind,
        object: u64,
        owners: Vec<u32>,
        proof: WaitProof,
    ) -> Option<WaitEdge> {
        Some(WaitEdge {
            object: Some(object),
            object_name: self.name_of(object),
            owners,
            waiting_ns: sleeper.task.task.in_state.map(|it| it.ns),
            ..WaitEdge::new(sleeper.task.task.pid?, kind, proof)
        })
    }

    /// The symbol that an object lies in, of the kernel or of a module.
    pub(super) fn name_of(&self, object: u64) -> Option<String> {
        let (symbol, module) = self.kernel.symbol_at(object)?;
        let mut name = symbol.name.to_owned();
        match object - symbol.address {
            0 => {}
            offset => name.push_str(&format!("+{offset:#x}")),
        }
        if let Some(module) = module {
            name.push_str(&format!(" [{module}]"));
        }
        Some(name)
    }

    /// Lets the next read of a run of memory see what is there now; `false` if there were too many.
    pub(super) fn forget(&self, virt: u64, len: u64) -> bool {
        let Some(left) = self.second_looks.get().checked_sub(1) else { return false };
        self.second_looks.set(left);
        let first = virt - virt % PAGE_SIZE;
        let pages = (virt % PAGE_SIZE + len.min(PAGE_SIZE * 16)).div_ceil(PAGE_SIZE);
        for page in 0..pages {
            if let Ok(start) = self.kernel.space.phys(first.wrapping_add(page * PAGE_SIZE)) {
                self.kernel.space.memory().forget(PhysRange { start, end: start.saturating_add(PAGE_SIZE) });
            }
        }
        true
    }

    /// Counts waits that were not there any more at a second look.
    pub(super) fn count_moved(&self, count: usize) {
        self.moved.set(self.moved.get() + count);
    }

    /// How many these were.
    pub(super) fn moved(&self) -> usize {
        self.moved.get()
    }
}
