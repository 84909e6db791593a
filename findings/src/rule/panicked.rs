//! `panicked`: the guest's kernel gave up.
//!
//! What: a panic on the console, or the pvpanic device's word through QMP.
//! Why: nothing runs after it but what the panic itself starts (kexec, a reboot).
//! Evidence: the line, QMP's GUEST_PANICKED or GUEST_CRASHLOADED, the run state `guest-panicked`.
//! False alarms: a program that prints an old log; a label that comes later clears it.
//! Next steps: the trace in the console tail; crash dump, if one was configured.

use vmward_model::{Class, Confidence, GuestState};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;

pub(super) struct Panicked;

const KINDS: &[&str] = &["panic", "no-root"];

impl Rule for Panicked {
    fn name(&self) -> &'static str {
        "panicked"
    }

    fn class(&self) -> Class {
        Class::Panicked
    }

    fn check(&self, case: &Case) -> Checked {
        check(case, KINDS, true)
    }
}

/// Shared with `init-died`, which is a panic with a cause of its own. `qemu` tells whether QEMU's
/// word alone is enough.
pub(super) fn check(case: &Case, kinds: &[&str], qemu: bool) -> Checked {
    let line =
        console::trouble(case, kinds).filter(|it| console::label_since(case, it.ago_ms).is_none()).last();
    let event = console::qemu_event(case, &["GUEST_PANICKED", "GUEST_CRASHLOADED"]);
    let state = case.guest_state == GuestState::Panicked
        || case.observed.run_state.as_ref().is_some_and(|it| it.status.as_deref() == Some("guest-panicked"));
    if line.is_none() && !(qemu && (event.is_some() || state)) {
        return Checked::No;
    }
    let mut draft = Draft::new(Confidence::Certain);
    if let Some(it) = line {
        draft = draft
            .because("console", format!("{} ({:.1} s ago)", it.title, it.ago_ms as f64 / 1000.0))
            .detail("title", &it.title);
    }
    if let Some((_, name)) = event {
        draft =
            draft.because(&format!("event:{name}"), format!("QEMU told that the guest panicked ({name})"));
    }
    if state {
        draft = draft.because("capture:run-state", "QEMU's run state is guest-panicked");
    }
    if console::shell(case) == Some(true) {
        draft = draft.although("probe:shell", "the shell answered when it was last asked");
        draft.confidence = Confidence::Likely;
    }
    Checked::Yes(draft)
}
