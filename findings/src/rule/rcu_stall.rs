//! `rcu-stall`: a grace period of RCU does not end.
//!
//! What: a grace period that is older than the kernel's own limit (`rcu_cpu_stall_timeout`), with the CPUs
//! and preempted readers that it waits for; in a guest that something is wrong with, five seconds are a sign.
//! Why: whatever frees memory, unmounts, unloads or unregisters waits for grace periods; sooner or later all
//! of the guest does.
//! Evidence: RCU's own tree; what the CPUs that it waits for run.
//! False alarms: a host that gives a vCPU no time; a kernel that is very busy at real-time priority.
//! Next steps: the CPU or task that it waits for.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::age;
use crate::sign::look::{self, runs};
use crate::sign::wait::{NOT_READ, SOURCE};

pub(super) struct RcuStall;

/// CPUs and tasks told one by one.
const MAX_TOLD: usize = 8;
/// A grace period takes tens of milliseconds, under load perhaps a second.
const EARLY_MS: u64 = 5_000;

impl Rule for RcuStall {
    fn name(&self) -> &'static str {
        "rcu-stall"
    }

    fn class(&self) -> Class {
        Class::CpuSpin
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(rcu) = &look.machine.rcu else {
            return Checked::Unknown("the guest's RCU state could not be read".to_owned());
        };
        let early = rcu.in_progress && !case.is_on_demand() && rcu.age_ms.is_some_and(|it| it >= EARLY_MS);
        let waits = !rcu.waiting_cpus.is_empty() || !rcu.waiting_tasks.is_empty();
        if !(rcu.in_progress && rcu.stalled || early && waits) {
            return Checked::No;
        }
        let mut draft = Draft::new(if rcu.stalled { Confidence::Likely } else { Confidence::Possible });
        if let Some(ms) = rcu.age_ms {
            let text = format!("a grace period of RCU is under way for {}", age(ms));
            draft = draft.detail("since", age(ms)).because(SOURCE, text);
        }
        for it in rcu.waiting_tasks.iter().take(MAX_TOLD) {
            let text =
                format!("it waits for {} (pid {}), which was preempted while it read", it.comm, it.pid);
            draft = draft.because(SOURCE, text);
        }
        for cpu in rcu.waiting_cpus.iter().take(MAX_TOLD) {
            draft = draft.because(SOURCE, format!("it waits for {}", look::cpu(case, *cpu)));
        }
        let blamed = match (rcu.waiting_tasks.first(), rcu.waiting_cpus.first()) {
            (Some(task), _) => Some(format!("{} (pid {})", task.comm, task.pid)),
            (None, Some(cpu)) => Some(format!("CPU {cpu}, which runs {}", runs(case, *cpu))),
            (None, None) => None,
        };
        if let Some(it) = blamed {
            draft = draft.detail("blamed", it);
        } else if let Some(it) = &rcu.kthread {
            draft = draft.because(
                SOURCE,
                format!("no CPU holds it up: {} (pid {}) does not come to run", it.comm, it.pid),
            );
        }
        if let Some(it) = look::starved(case) {
            draft = draft.although("capture:host", it);
        }
        Checked::Yes(draft)
    }
}
