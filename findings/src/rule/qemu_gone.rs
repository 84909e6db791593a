//! `qemu-gone`: the guest's QEMU process ended.
//!
//! What: the process of this incarnation is no longer there.
//! Why: nothing else can be wrong with a guest that does not exist; every probe fails for it.
//! Evidence: the guest state, the event, the host's `/proc`.
//! False alarms: none known; a new process is a new incarnation.
//! Next steps: QEMU's log and the host's journal (OOM killer, signal), then start the guest.

use vmward_model::{Class, Confidence, EventKind, GuestState};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct QemuGone;

impl Rule for QemuGone {
    fn name(&self) -> &'static str {
        "qemu-gone"
    }

    fn class(&self) -> Class {
        Class::QemuGone
    }

    fn check(&self, case: &Case) -> Checked {
        let ended = case
            .events
            .iter()
            .filter(|it| it.incarnation.is_some_and(|life| life.same_process(&case.incarnation)))
            .any(|it| it.kind == EventKind::GuestGone);
        let absent = case.observed.host.as_ref().is_some_and(|it| !it.process_alive);
        if case.guest_state != GuestState::Gone && !ended && !absent {
            return Checked::No;
        }
        let mut draft = Draft::new(Confidence::Certain).detail("pid", case.incarnation.pid);
        if ended || case.guest_state == GuestState::Gone {
            draft = draft.because("event:guest-gone", "the agent saw the QEMU process end");
        }
        if absent {
            draft = draft.because(
                "capture:host",
                format!("the host has no process {} of this guest", case.incarnation.pid),
            );
        }
        Checked::Yes(draft)
    }
}
