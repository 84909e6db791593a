//! `soft-lockup`: a CPU of the guest has not scheduled for long.
//!
//! What: the mark that the kernel's soft-lockup detector keeps of each CPU is older than the kernel itself
//! allows (twice `watchdog_thresh`); in a guest that something is wrong with, half of that is a sign.
//! Why: whatever the CPU runs keeps it in the kernel; what needs this CPU (timers, work, RCU) waits.
//! Evidence: the detector's mark; what the CPU runs, with the top of its stack.
//! False alarms: a host that gives a vCPU no time looks the same from inside.
//! Next steps: the stack of that CPU.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::look::{self, runs};
use crate::sign::wait::{NOT_READ, SOURCE};

pub(super) struct SoftLockup;

/// CPUs told one by one.
const MAX_TOLD: usize = 8;

impl Rule for SoftLockup {
    fn name(&self) -> &'static str {
        "soft-lockup"
    }

    fn class(&self) -> Class {
        Class::CpuSpin
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(watchdog) = look.machine.watchdog.as_ref().filter(|it| it.enabled) else {
            return Checked::Unknown(
                "the guest's lockup detector does not run, or could not be read".to_owned(),
            );
        };
        // The detector's timer comes each two fifths of the threshold.
        let early = (!case.is_on_demand()).then_some(u64::from(watchdog.threshold_sec.max(5)));
        let is_late = |sec: Option<u64>| sec.zip(early).is_some_and(|(sec, early)| sec >= early);
        let stuck = watchdog.cpus.iter().filter(|it| it.soft_lockup || is_late(it.untouched_sec));
        let stuck: Vec<_> = stuck.take(MAX_TOLD).collect();
        let Some(first) = stuck.iter().max_by_key(|it| it.untouched_sec) else { return Checked::No };
        let sure = stuck.iter().any(|it| it.soft_lockup);
        let mut draft = Draft::new(if sure { Confidence::Likely } else { Confidence::Possible })
            .detail("cpu", first.cpu)
            .detail("running", runs(case, first.cpu));
        if let Some(sec) = first.untouched_sec {
            draft = draft.detail("since", format!("{sec} s"));
        }
        for it in stuck {
            let since = it.untouched_sec.map_or_else(String::new, |sec| format!(" for {sec} s"));
            draft = draft.because(SOURCE, format!("CPU {} has not scheduled{since}", it.cpu));
            draft = draft.because(SOURCE, look::cpu(case, it.cpu));
        }
        if let Some(it) = look::starved(case) {
            draft = draft.although("capture:host", it);
        }
        Checked::Yes(draft)
    }
}
