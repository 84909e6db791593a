//! `memory-thrash`: memory is short and the guest moves pages instead of working.
//!
//! What: free memory is at the kernel's marks with swap in use or no file pages left, and at the same
//! time tasks swap or reclaim, or the disks are busy.
//! Why: tasks in D on a disk that moves are not a disk stall; what lacks is memory.
//! Evidence: SysRq `m`, stacks in swap-in or reclaim, block counters that advance, OOM kills.
//! False alarms: a cache that fills memory leaves swap alone and many file pages.
//! Next steps: the largest processes; more memory, a limit, or less swap.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, memory_exhausted};
use crate::Case;
use crate::sign::{console, count, disk, memory, task};

pub(super) struct MemoryThrash;

/// Functions that a task is in while it brings pages in or makes room.
const RECLAIM: &[&str] = &[
    "do_swap_page",
    "swapin_readahead",
    "swap_cluster_readahead",
    "swap_readpage",
    "swap_read_folio",
    "try_to_free_pages",
    "do_try_to_free_pages",
    "shrink_node",
    "shrink_lruvec",
    "shrink_page_list",
    "shrink_folio_list",
    "throttle_direct_reclaim",
    "reclaim_throttle",
    "__alloc_pages_slowpath",
    "__alloc_pages_direct_reclaim",
    "swap_writepage",
];
const BUSY_OPS: f64 = 10.0;

impl Rule for MemoryThrash {
    fn name(&self) -> &'static str {
        "memory-thrash"
    }

    fn class(&self) -> Class {
        Class::MemoryThrash
    }

    fn check(&self, case: &Case) -> Checked {
        // It says the same and names who has the memory.
        if matches!(memory_exhausted::MemoryExhausted.check(case), Checked::Yes(_)) {
            return Checked::No;
        }
        let ops = disk::ops_per_second(case);
        // Swap on a slow disk: few operations, each of them large, and never an idle moment.
        let slow = disk::works_all_along(case) == Some(true);
        let moves = slow || ops.is_some_and(|it| it >= BUSY_OPS);
        let reclaiming = reclaiming(case);
        let killed = console::trouble(case, &["oom-kill"]).filter(|it| it.ago_ms <= 300_000).count();
        let Some(seen) = memory::seen(case) else {
            if moves && reclaiming.len() >= 2 {
                let draft = evidence(case, Draft::new(Confidence::Possible), &reclaiming, ops, killed);
                return Checked::Yes(
                    draft.although(task::source(case), "the kernel's account of memory is missing"),
                );
            }
            return Checked::Unknown("the kernel's account of memory was not captured".to_owned());
        };
        if !memory::is_short(&seen) {
            return Checked::No;
        }
        if reclaiming.is_empty() && !moves && killed == 0 {
            return Checked::No;
        }
        let both = moves && !reclaiming.is_empty();
        let mut draft =
            Draft::new(if both || killed > 0 { Confidence::Likely } else { Confidence::Possible })
                .because(task::source(case), "free memory is at the kernel's low marks");
        if let Some(used) = memory::swap_used_percent(&seen) {
            draft = draft
                .because(task::source(case), format!("{used} % of swap is in use"))
                .detail("swap_used", used);
        }
        draft = evidence(case, draft, &reclaiming, ops, killed);
        if slow {
            draft = draft.because("capture:queues", "a disk had requests all the while and completed some");
        }
        if let Some(owing) = disk::owing(case).filter(|it| !it.is_empty()) {
            let text = format!("{} completed nothing while it was watched", count(owing.len(), "disk queue"));
            draft = draft.although("capture:queues", text);
            if !moves {
                // A disk that does not answer also keeps pages from being freed: it comes first.
                draft.confidence = Confidence::Possible;
            }
        }
        Checked::Yes(draft)
    }
}

/// Tasks that bring pages in or make room, the kernel's own helper aside: that is its work.
pub(super) fn reclaiming(case: &Case) -> Vec<&vmward_kernel_facts::Task> {
    let mut tasks = task::passing_through(case, RECLAIM);
    tasks.retain(|it| !it.comm.starts_with("kswapd"));
    tasks
}

pub(super) fn evidence(
    case: &Case,
    mut draft: Draft,
    reclaiming: &[&vmward_kernel_facts::Task],
    ops: Option<f64>,
    killed: usize,
) -> Draft {
    if !reclaiming.is_empty() {
        let text =
            format!("{} in swap-in or reclaim: {}", count(reclaiming.len(), "task"), task::names(reclaiming));
        draft = draft.because(task::source(case), text);
    }
    if let Some(it) = ops.filter(|it| *it >= BUSY_OPS) {
        draft = draft.because("capture:blocks", format!("the disks complete {it:.0} operations a second"));
    }
    if killed > 0 {
        draft = draft.because(
            "console",
            format!(
                "the kernel killed {} for memory",
                if killed == 1 { "a process".to_owned() } else { format!("{killed} processes") }
            ),
        );
    }
    draft
}
