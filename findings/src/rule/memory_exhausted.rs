//! `memory-exhausted`: the guest's memory is used up, and it is known who has it.
//!
//! What: free memory is at the kernel's marks with swap in use or no file pages left, and tasks reclaim
//! memory, lose time for want of it (PSI), or were killed for it.
//! Why: the guest does not work until somebody gives memory back or more is given.
//! Evidence: zones and counters; the largest processes, slab caches, shared memory.
//! False alarms: a cache that fills memory leaves many file pages; a disk that never answers also keeps pages
//! from being freed.
//! Next steps: the largest user.

use std::collections::BTreeMap;

use vmward_kernel_facts::machine::Memory;
use vmward_kernel_facts::{Machine, Task};
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, memory_thrash};
use crate::Case;
use crate::sign::wait::{NOT_READ, SOURCE};
use crate::sign::{console, count, disk, memory, size};

pub(super) struct MemoryExhausted;

/// Processes told one by one.
const MAX_TOLD: usize = 4;
/// Share of ten seconds in which all tasks waited for memory, in hundredths of a percent.
const PRESSURE: u64 = 1_000;
/// Runs of `kswapd` without result at which the kernel gives up: `MAX_RECLAIM_RETRIES`.
const GIVES_UP: u64 = 16;

impl Rule for MemoryExhausted {
    fn name(&self) -> &'static str {
        "memory-exhausted"
    }

    fn class(&self) -> Class {
        Class::MemoryThrash
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(seen) = &look.machine.memory else {
            return Checked::Unknown("the guest's account of its memory could not be read".to_owned());
        };
        let summary = seen.summary();
        if !memory::is_short(&summary) {
            return Checked::No;
        }
        let reclaiming = memory_thrash::reclaiming(case);
        let lost = look.machine.pressure.as_ref().map_or(0, |it| it.memory_full.average[0]);
        let gave_up = seen.nodes.iter().any(|it| it.kswapd_failures >= GIVES_UP);
        let killed = console::trouble(case, &["oom-kill"]).filter(|it| it.ago_ms <= 300_000).count();
        if reclaiming.is_empty() && lost < PRESSURE && !gave_up && killed == 0 {
            return Checked::No;
        }
        let total = seen.total.saturating_mul(seen.page_size);
        let free = seen.counter("nr_free_pages").saturating_mul(seen.page_size);
        let mut draft = Draft::new(Confidence::Likely)
            .because(SOURCE, format!("{} of {} are free: at the kernel's low marks", size(free), size(total)))
            .detail("total", size(total));
        if let Some(used) = memory::swap_used_percent(&summary) {
            draft = draft.because(SOURCE, format!("{used} % of swap is in use")).detail("swap_used", used);
        }
        draft = users(case, &look.machine, seen, draft);
        draft = memory_thrash::evidence(case, draft, &reclaiming, disk::ops_per_second(case), killed);
        if lost >= PRESSURE {
            let text = format!("for {} % of the last ten seconds every task waited for memory", lost / 100);
            draft = draft.because(SOURCE, text);
        }
        if gave_up {
            draft = draft.because(SOURCE, "kswapd gave up: nothing could be reclaimed sixteen times");
        }
        let moves = disk::works_all_along(case) == Some(true)
            || disk::ops_per_second(case).is_some_and(|it| it >= 10.0);
        if let Some(owing) = disk::owing(case).filter(|it| !it.is_empty() && !moves) {
            let text = format!("{} completed nothing while it was watched", count(owing.len(), "disk queue"));
            draft = draft.although("capture:queues", text);
            // A disk that does not answer also keeps pages from being freed: it comes first.
            draft.confidence = Confidence::Possible;
        }
        Checked::Yes(draft)
    }
}

/// Who has the memory.
fn users(case: &Case, machine: &Machine, seen: &Memory, mut draft: Draft) -> Draft {
    let mut processes: BTreeMap<u32, (&Task, u64, u64)> = BTreeMap::new();
    for task in case.kernel.tasks.iter().flatten() {
        if let (Some(group), Some(memory)) = (task.tgid.or(task.pid), &task.memory) {
            let entry = processes.entry(group).or_insert((task, memory.resident_bytes, memory.swapped_bytes));
            // Its threads share it; what was read of one of them may be torn.
            entry.1 = entry.1.max(memory.resident_bytes);
            if task.pid == Some(group) {
                entry.0 = task;
            }
        }
    }
    let mut largest: Vec<_> = processes.into_iter().collect();
    largest.sort_by_key(|(_, (_, resident, swapped))| std::cmp::Reverse(resident.saturating_add(*swapped)));
    let pages = |name: &str| seen.counter(name).saturating_mul(seen.page_size);
    let slab = pages("nr_slab_unreclaimable");
    let shared = pages("nr_shmem");
    let process = largest.first().map_or(0, |(_, it)| it.1.saturating_add(it.2));
    let who = match largest.first() {
        _ if slab > process && slab >= shared => {
            Some(format!("the kernel itself, with {} of slab,", size(slab)))
        }
        _ if shared > process => Some(format!("shared memory or a tmpfs, with {},", size(shared))),
        Some((group, (task, ..))) => Some(format!("{} (pid {group}), with {},", task.comm, size(process))),
        None => None,
    };
    if let Some(it) = who {
        draft = draft.detail("who", it);
    }
    for (group, (task, resident, swapped)) in largest.iter().take(MAX_TOLD) {
        let swapped = if *swapped > 0 { format!(", {} swapped out", size(*swapped)) } else { String::new() };
        draft = draft
            .because(SOURCE, format!("{} (pid {group}): {} resident{swapped}", task.comm, size(*resident)));
    }
    if slab > 0 {
        let caches = machine.slab.as_deref().unwrap_or_default();
        let top = caches.iter().max_by_key(|it| it.bytes);
        let top = top.map_or_else(String::new, |it| format!(", most in {} ({})", it.name, size(it.bytes)));
        draft = draft.because(SOURCE, format!("slab that cannot be reclaimed: {}{top}", size(slab)));
    }
    if shared > 0 {
        draft = draft.because(SOURCE, format!("shared memory and tmpfs: {}", size(shared)));
    }
    draft
}
