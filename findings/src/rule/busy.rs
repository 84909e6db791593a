//! `busy`: under load, but everything moves.
//!
//! What: labels or the shell still come, in time or late, while vCPUs or disks are busy.
//! Why: it is no hang, and restarting the guest would lose work.
//! Evidence: life shown lately; load seen from the host.
//! False alarms: the first seconds of a real hang look like it; the scenario goes on and says more.
//! Next steps: load inside the guest; the host's own pressure.

use vmward_model::{Answer, Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console::{self, Labels};
use crate::sign::{cpu, disk};

pub(super) struct Busy;

/// How far back an answer of a probe still shows life, in milliseconds before the verdict.
const LATELY_MS: u64 = 10_000;

impl Rule for Busy {
    fn name(&self) -> &'static str {
        "busy"
    }

    fn class(&self) -> Class {
        Class::Busy
    }

    fn check(&self, case: &Case) -> Checked {
        let mut draft = Draft::new(Confidence::Likely);
        let mut alive = false;
        match console::labels(case) {
            Some(Labels::Going) => {
                alive = true;
                draft = draft.because("console:labels", "labels come");
            }
            Some(Labels::Late(ms)) => {
                alive = true;
                draft = draft.because("console:labels", format!("labels come late: the last {ms} ms ago"));
            }
            Some(Labels::Stopped(_)) => return Checked::No,
            None => {}
        }
        let shell = case.observed.console.as_ref().and_then(|it| it.shell.as_ref()).filter(|it| it.answered);
        if let Some(it) = shell {
            alive = true;
            let took = it.took_ms.map_or(String::new(), |ms| format!(" in {ms} ms"));
            draft = draft.because("probe:shell", format!("the shell answers{took}"));
        }
        let lately = case.probes.iter().any(|it| {
            it.answer == Answer::Pass
                && it.transport == vmward_model::TransportKind::Console
                && it.at.mono_ms.saturating_add(LATELY_MS) >= case.opening.at.mono_ms
        });
        if lately && console::labels(case).is_none() && shell.is_none() {
            alive = true;
            draft = draft.because("probe", "a probe of the console passed lately");
        }
        if !alive {
            return Checked::No;
        }
        let cpus = cpu::all_busy(case) == Some(true);
        if cpus {
            let text = format!("every vCPU is busy: {}", cpu::load(&cpu::vcpus(case)));
            draft = draft.because("capture:host", text);
        }
        let disks = disk::ops_per_second(case).filter(|it| *it >= 50.0);
        if let Some(it) = disks {
            draft =
                draft.because("capture:blocks", format!("the disks complete {it:.0} operations a second"));
        }
        if !cpus && disks.is_none() {
            return Checked::No;
        }
        Checked::Yes(draft.detail("load", cpu::load(&cpu::vcpus(case))))
    }
}
