//! `monitor-unusable`: QEMU's monitor cannot be talked to.
//!
//! What: what answers there is not QMP, closes in the middle of an answer, or nobody listens.
//! Why: what the monitor would have told is missing.
//! Evidence: how the conversation ended.
//! False alarms: a configuration that points at a socket of something else.
//! Next steps: `vmward discover -o wide` says which socket was used and how it was found.

use vmward_model::observed::MonitorHealth;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct MonitorUnusable;

impl Rule for MonitorUnusable {
    fn name(&self) -> &'static str {
        "monitor-unusable"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let how = match case.observed.run_state.as_ref().map(|it| &it.monitor) {
            Some(MonitorHealth::Garbage) => "what answers there does not speak QMP",
            Some(MonitorHealth::Closed) => "it closes in the middle of an answer",
            Some(MonitorHealth::Absent) => "there is no socket, or nobody listens",
            _ => return Checked::No,
        };
        Checked::Yes(Draft::new(Confidence::Certain).because("transport:qmp", how).detail("how", how))
    }
}
