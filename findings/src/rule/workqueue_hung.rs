//! `workqueue-hung`: work of the kernel waits and no worker takes it.
//!
//! What: a pool of workers with work that waits, in which none was begun for long: 30 s, as the kernel's own
//! watchdog counts (`wq_watchdog_thresh`); in a guest that something is wrong with, five.
//! Why: what was put off to a workqueue (writeback, mounts, device events) does not happen.
//! Evidence: the pool, what its workers are at, what waits.
//! False alarms: a pool on a CPU that is busy at a higher priority.
//! Next steps: what the workers are at.

use vmward_kernel_facts::machine::WorkerPool;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::wait::{NOT_READ, SOURCE};
use crate::sign::{age, count};

pub(super) struct WorkqueueHung;

/// Pools, and pieces of work of each, that are told.
const MAX_TOLD: usize = 4;
const STALLED_MS: u64 = 30_000;
const EARLY_MS: u64 = 5_000;

impl Rule for WorkqueueHung {
    fn name(&self) -> &'static str {
        "workqueue-hung"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(pools) = &look.machine.workqueues else {
            return Checked::Unknown("the guest's workqueues could not be read".to_owned());
        };
        let long = if case.is_on_demand() { STALLED_MS } else { EARLY_MS };
        let hangs = |it: &&WorkerPool| it.pending > 0 && it.stalled_ms.is_some_and(|ms| ms >= long);
        let mut hung: Vec<&WorkerPool> = pools.iter().filter(hangs).collect();
        hung.sort_by_key(|it| std::cmp::Reverse(it.stalled_ms));
        let Some(first) = hung.first() else { return Checked::No };
        let stalled_ms = first.stalled_ms.unwrap_or_default();
        let sure = stalled_ms >= STALLED_MS;
        let mut draft = Draft::new(if sure { Confidence::Likely } else { Confidence::Possible })
            .detail("pool", name(first))
            .detail("pending", first.pending)
            .detail("since", age(stalled_ms));
        let work = first.running.first().map(|it| it.function.clone());
        if let Some(it) = work.or_else(|| first.pending_functions.first().cloned()) {
            draft = draft.detail("function", it);
        }
        for pool in hung.iter().take(MAX_TOLD) {
            let waiting =
                pool.pending_functions.iter().take(MAX_TOLD).cloned().collect::<Vec<_>>().join(", ");
            let text = format!(
                "{}: {} since {}: {waiting}",
                name(pool),
                count(usize::try_from(pool.pending).unwrap_or(usize::MAX), "piece") + " of work waits",
                age(pool.stalled_ms.unwrap_or_default())
            );
            draft = draft.because(SOURCE, text);
            for it in pool.running.iter().take(MAX_TOLD) {
                let worker = match &it.worker {
                    Some(worker) => format!("{} (pid {})", worker.comm, worker.pid),
                    None => "a soft interrupt".to_owned(),
                };
                draft = draft.because(SOURCE, format!("{worker} is at {}", it.function));
            }
            if pool.running.is_empty() {
                draft = draft.because(SOURCE, format!("none of its {} workers is at anything", pool.workers));
            }
        }
        Checked::Yes(draft)
    }
}

fn name(pool: &WorkerPool) -> String {
    match pool.cpu {
        Some(cpu) => format!("pool {} of CPU {cpu}", pool.id),
        None => format!("pool {}", pool.id),
    }
}
