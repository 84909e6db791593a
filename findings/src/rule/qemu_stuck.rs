//! `qemu-stuck`: the QEMU process is there and does not work.
//!
//! What: its threads are stopped by a signal or a tracer, or its monitor accepts a connection that
//! nobody else holds and never says a word.
//! Why: the guest cannot run while QEMU is stopped, and cannot be controlled while its main loop is
//! stuck; nothing inside the guest is to blame.
//! Evidence: thread states from the host's `/proc`, the monitor's health.
//! False alarms: a debugger that stopped QEMU for a moment. A monitor that somebody else holds is
//! never taken for a stuck one.
//! Next steps: find who stopped it (SIGCONT), or what the main thread waits for in the host kernel.

use vmward_model::observed::{MonitorHealth, ThreadRole};
use vmward_model::{Class, Confidence, GuestState};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct QemuStuck;

impl Rule for QemuStuck {
    fn name(&self) -> &'static str {
        "qemu-stuck"
    }

    fn class(&self) -> Class {
        Class::QemuStuck
    }

    fn check(&self, case: &Case) -> Checked {
        let host = case.observed.host.as_ref();
        let threads = host.map_or(&[][..], |it| &it.threads);
        let stopped = !threads.is_empty() && threads.iter().all(|it| matches!(it.state, 'T' | 't'));
        let monitor = case.observed.run_state.as_ref().map(|it| &it.monitor);
        if monitor == Some(&MonitorHealth::Answers) && !stopped {
            return Checked::No;
        }
        let silent = monitor == Some(&MonitorHealth::Silent)
            || (monitor.is_none() && case.guest_state == GuestState::Silent);
        if !stopped && !silent {
            return match monitor {
                Some(MonitorHealth::Busy { peer }) => Checked::Unknown(format!(
                    "the monitor is held by {peer}, and the host shows no stopped threads"
                )),
                _ => Checked::No,
            };
        }
        let mut draft = Draft::new(if stopped { Confidence::Certain } else { Confidence::Likely });
        if stopped {
            let by = if threads.iter().any(|it| it.state == 't') { "a tracer" } else { "a signal" };
            draft = draft
                .because("capture:host", format!("all {} threads of QEMU are stopped by {by}", threads.len()))
                .detail("how", format!("stopped by {by}"));
        }
        if silent {
            draft = draft.because("transport:qmp", "the monitor accepts a connection and says nothing");
        }
        if let Some(main) = threads.iter().find(|it| it.role == ThreadRole::Main && !stopped) {
            let place = main.wchan.as_deref().unwrap_or("an unknown place");
            draft = draft
                .because("capture:host", format!("its main thread is in state {} in {place}", main.state))
                .detail("how", format!("its main loop is in state {} in {place}", main.state));
        }
        Checked::Yes(draft)
    }
}
