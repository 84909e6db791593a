//! `deadlock`: tasks wait for each other in a ring.
//!
//! What: each of these tasks waits for a lock that the next one holds, and the last one's is held by the
//! first (ABBA). All of them have been off their CPU for long, so that none of it changed meanwhile.
//! Why: no time and no device will ever free them, nor whoever queues behind them.
//! Evidence: the edges of the wait graph, each with the test that it passed: the lock's own list of
//! waiters, its owner. An edge that only a stack tells of is not counted.
//! False alarms: a lock of user space whose word names a task that does not hold it.
//! Next steps: the stacks of the ring; the order in which they take their locks; restart.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::count;
use crate::sign::wait::{NOT_READ, SOURCE, Waits};

pub(super) struct Deadlock;

/// Edges told of one ring.
const MAX_TOLD: usize = 8;

impl Rule for Deadlock {
    fn name(&self) -> &'static str {
        "deadlock"
    }

    fn class(&self) -> Class {
        Class::LockWait
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(waits) = Waits::of(case) else { return Checked::Unknown(NOT_READ.to_owned()) };
        // The ring that holds up most comes first.
        // What the reader of memory did not find again at its second look is no ring.
        let told =
            |ring: &&Vec<u32>| waits.all.cycles.iter().any(|it| ring.iter().all(|pid| it.contains(pid)));
        let rings = waits.shown.cycles.iter().take(64).filter(told).map(|it| (waits.behind(it).len(), it));
        let Some((behind, ring)) = rings.max_by_key(|it| it.0) else { return Checked::No };
        let path = around(&waits, ring);
        let told = path.iter().map(|it| waits.name(*it)).collect::<Vec<_>>().join(", then ");
        let mut draft = Draft::new(Confidence::Certain)
            .detail("tasks", count(ring.len(), "task"))
            .detail("ring", told)
            .detail("first", path.first().copied().unwrap_or_default());
        let inside = |pid: &u32| ring.binary_search(pid).is_ok();
        let edges = waits.shown.edges.iter().filter(|it| inside(&it.waiter));
        for edge in edges.filter(|it| it.owners.iter().any(inside)).take(MAX_TOLD) {
            draft = draft.because(SOURCE, waits.sentence(edge));
        }
        if behind > 0 {
            draft = draft
                .because(SOURCE, format!("{} behind them", count(behind, "more task")))
                .detail("behind", count(behind, "more task"));
        }
        if waits.shown.cycles.len() > 1 {
            draft = draft.because(SOURCE, format!("{} in all", count(waits.shown.cycles.len(), "such ring")));
        }
        Checked::Yes(draft)
    }
}

/// The tasks of a ring in the order in which they wait, each for the next one; where the ring is a knot,
/// one way through it.
fn around(waits: &Waits<'_>, ring: &[u32]) -> Vec<u32> {
    let mut path: Vec<u32> = ring.first().copied().into_iter().collect();
    while let Some(last) = path.last().copied() {
        let owners = waits.shown.of(last).flat_map(|it| &it.owners);
        let next = owners.copied().find(|it| ring.binary_search(it).is_ok() && !path.contains(it));
        match next {
            Some(next) if path.len() < MAX_TOLD => path.push(next),
            _ => break,
        }
    }
    path
}
