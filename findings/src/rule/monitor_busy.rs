//! `monitor-busy`: somebody else holds QEMU's monitor.
//!
//! What: the socket gives no greeting because another client is connected.
//! Why: what the monitor would have told is missing; QEMU is not to blame.
//! Evidence: the peer, as the host's socket tables name it.
//! False alarms: none known.
//! Next steps: give vmward a monitor of its own (a second `-qmp`).

use vmward_model::observed::MonitorHealth;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct MonitorBusy;

impl Rule for MonitorBusy {
    fn name(&self) -> &'static str {
        "monitor-busy"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        match case.observed.run_state.as_ref().map(|it| &it.monitor) {
            Some(MonitorHealth::Busy { peer }) => Checked::Yes(
                Draft::new(Confidence::Certain)
                    .because("transport:qmp", format!("the monitor is held by {peer}"))
                    .detail("peer", peer),
            ),
            _ => Checked::No,
        }
    }
}
