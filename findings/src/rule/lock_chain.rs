//! `lock-chain`: tasks wait for a lock, and it is known who holds it and what that one does.
//!
//! What: waits for a lock that last long, whose holder the lock itself names; followed to the task that
//! waits for none of the others. Where that one waits for storage, two waiters are needed: one that
//! happens to queue behind I/O is no chain.
//! Why: the waiters go on as soon as the root lets go; nothing else helps.
//! Evidence: the edges of the wait graph, each with the test that it passed; the root's own wait.
//! False alarms: a lock that is held for long under heavy load: a root that runs, or that fell asleep
//! only just now, makes it merely possible.
//! Next steps: the root, and what it waits for.

use vmward_kernel_facts::{WaitKind, WaitRoot};
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, memory_thrash};
use crate::Case;
use crate::sign::wait::{NOT_READ, SOURCE, Waits};
use crate::sign::{age, count, disk, memory};

pub(super) struct LockChain;

/// Edges told of one chain.
const MAX_TOLD: usize = 6;

impl Rule for LockChain {
    fn name(&self) -> &'static str {
        "lock-chain"
    }

    fn class(&self) -> Class {
        Class::LockWait
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(waits) = Waits::of(case) else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(root) = root(&waits) else { return Checked::No };
        let (waits_for, own) = waits.own(root.task);
        let mut draft =
            Draft::new(if waits.stands(root.task) { Confidence::Likely } else { Confidence::Possible })
                .detail("waiters", count(root.waiters.len(), "task"))
                .detail("verb", if root.waiters.len() == 1 { "waits" } else { "wait" })
                .detail("root", waits.name(root.task))
                .detail("pid", root.task)
                .detail("does", waits.does(root.task));
        if let Some(ms) = waits.since_ms(root.task) {
            draft = draft.detail("since", age(ms));
        }
        // Whoever waits for the root itself first, then those behind them, the longest first.
        let mut edges: Vec<_> =
            waits.shown.edges.iter().filter(|it| root.waiters.binary_search(&it.waiter).is_ok()).collect();
        edges.sort_by_key(|it| (!it.owners.contains(&root.task), std::cmp::Reverse(it.waiting_ns)));
        for edge in edges.iter().take(MAX_TOLD) {
            draft = draft.because(SOURCE, waits.sentence(edge));
        }
        if edges.len() > MAX_TOLD {
            draft =
                draft.because(SOURCE, format!("{} more behind it", count(edges.len() - MAX_TOLD, "task")));
        }
        if let Some(ms) = edges.iter().filter_map(|it| it.waiting_ns).max() {
            draft = draft.detail("longest", age(ms / 1_000_000));
        }
        draft = match own {
            Some(edge) if edge.proof.is_shown() => {
                draft.because(SOURCE, format!("the root: {}", waits.sentence(edge)))
            }
            _ => draft
                .because(SOURCE, format!("the root, {}, {}", waits.name(root.task), waits.does(root.task))),
        };
        if !waits.stands(root.task) {
            let text = format!("{} does not stand still: it may let go at any moment", waits.name(root.task));
            draft = draft.although(SOURCE, text);
        }
        if waits_for.is_some_and(WaitKind::is_io) {
            draft = storage(case, draft);
        }
        // Whoever brings pages in holds the lock of its address space: those that wait for that one wait for
        // memory.
        let short = memory::seen(case).is_some_and(|it| memory::is_short(&it));
        let owing = disk::owing(case).is_some_and(|it| !it.is_empty());
        if !owing && short && !memory_thrash::reclaiming(case).is_empty() {
            draft = draft.although(SOURCE, "memory is short: locks are held while pages come in");
            draft.confidence = Confidence::Possible;
        }
        Checked::Yes(draft)
    }
}

/// The root of most waiters, of those that have enough.
fn root<'w>(waits: &'w Waits<'_>) -> Option<&'w WaitRoot> {
    waits.shown.roots.iter().find(|root| {
        if !waits.own(root.task).0.is_some_and(WaitKind::is_io) {
            return !root.waiters.is_empty();
        }
        // Whoever waits for a journal's thread waits for the disk as that one does: only locks are a chain.
        let edges = waits.shown.edges.iter().filter(|it| it.kind.is_lock());
        edges.filter(|it| root.waiters.binary_search(&it.waiter).is_ok()).take(2).count() == 2
    })
}

/// What is known of the disks that a root may wait for.
fn storage(case: &Case, mut draft: Draft) -> Draft {
    for it in disk::overdue(case) {
        draft = draft.because(SOURCE, it.sentence()).detail("disk", it.name);
    }
    let owing = disk::owing(case).unwrap_or_default();
    if owing.is_empty() && disk::moves(case) {
        draft = draft.although("capture:blocks", "the disks are busy: locks may be held long and move");
        draft.confidence = Confidence::Possible;
    }
    for it in owing {
        draft = draft.because("capture:queues", it.sentence());
    }
    draft
}
