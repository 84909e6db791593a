//! `not-running`: the guest does not run because somebody wants it so.
//!
//! What: QEMU says that the guest is paused, saved, migrated or shut down.
//! Why: everything in a guest that does not run stands still; nothing of that is trouble.
//! Evidence: the run state.
//! False alarms: one that hung before it was paused looks the same: where a scenario failed first it
//! is merely possible, and what is likely goes before it. A run state that QEMU chose because of
//! trouble (`guest-panicked`, `io-error`, `watchdog`) is none of these.
//! Next steps: let it run, if it should.

use vmward_model::{Class, Confidence, GuestState};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct NotRunning;

impl Rule for NotRunning {
    fn name(&self) -> &'static str {
        "not-running"
    }

    fn class(&self) -> Class {
        Class::Well
    }

    fn check(&self, case: &Case) -> Checked {
        let how = match case.guest_state {
            GuestState::Paused => "it is paused",
            GuestState::Saving => "its state is being saved or restored",
            GuestState::Migrating => "it is being migrated, or has been",
            GuestState::ShutDown => "it has shut down in good order",
            _ => return Checked::No,
        };
        let status = case.observed.run_state.as_ref().and_then(|it| it.status.as_deref());
        // The guest's watchdog expired and QEMU paused it for that: nobody wanted it so.
        if status == Some("watchdog") {
            return Checked::No;
        }
        // A guest that is migrated runs on for most of the time.
        let sure = case.is_on_demand() && case.guest_state != GuestState::Migrating;
        let confidence = if sure { Confidence::Certain } else { Confidence::Possible };
        let text = status.map_or_else(|| how.to_owned(), |it| format!("{how} (run state {it})"));
        let mut draft = Draft::new(confidence).because("capture:run-state", text).detail("how", how);
        if !case.is_on_demand() {
            let text = format!("{} failed before", case.opening.scenario);
            draft = draft.although("probe", text);
        }
        Checked::Yes(draft)
    }
}
