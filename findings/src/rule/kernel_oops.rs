//! `kernel-oops`: the kernel oopsed and went on.
//!
//! What: an oops, a general protection fault, `kernel BUG at` or `BUG:` on the console in the last
//! ten minutes, and no panic after it.
//! Why: the task that it struck is dead with whatever locks it held; trouble that comes after it is
//! its consequence.
//! Evidence: the report's title.
//! False alarms: a `BUG:` that the kernel lived with for days is older than ten minutes and stays
//! out; one that is recent and harmless decides all the same, and says so by its title.
//! Next steps: the trace in the console tail; restart the guest, its state is not to be trusted.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;

pub(super) struct KernelOops;

const KINDS: &[&str] = &[
    "oops",
    "bug",
    "null-deref",
    "page-fault",
    "general-protection",
    "double-fault",
    "stack-overflow",
    "sanitizer",
];
const RECENT_MS: u64 = 600_000;

impl Rule for KernelOops {
    fn name(&self) -> &'static str {
        "kernel-oops"
    }

    fn class(&self) -> Class {
        Class::KernelOops
    }

    fn check(&self, case: &Case) -> Checked {
        let recent: Vec<_> = console::trouble(case, KINDS).filter(|it| it.ago_ms <= RECENT_MS).collect();
        // The first is the cause, the rest may be its echo.
        let Some(first) = recent.first() else { return Checked::No };
        let mut draft = Draft::new(Confidence::Certain)
            .because("console", format!("{} ({:.1} s ago)", first.title, first.ago_ms as f64 / 1000.0))
            .detail("title", &first.title);
        if recent.len() > 1 {
            draft = draft.because("console", format!("{} more reports since", recent.len() - 1));
        }
        if console::label_since(case, first.ago_ms).is_some() {
            draft = draft.because("console:labels", "the application went on after it");
        }
        Checked::Yes(draft)
    }
}
