//! `process-limit`: no new process can be made.
//!
//! What: the shell says that it cannot fork, or the kernel that its pids controller refused a fork in
//! the last two minutes.
//! Why: what runs goes on, so that probes of running services pass; nothing new starts.
//! Evidence: the shell's words, the kernel's line.
//! False alarms: a container at its own limit prints the same kernel line; while the shell answers
//! well, it is not this.
//! Next steps: who made the processes; the limit (`pids.max`, `ulimit -u`, `kernel.pid_max`).

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;

pub(super) struct ProcessLimit;

const RECENT_MS: u64 = 120_000;
const WORDS: &[&str] = &["can't fork", "cannot fork", "fork: ", "fork failed"];

impl Rule for ProcessLimit {
    fn name(&self) -> &'static str {
        "process-limit"
    }

    fn class(&self) -> Class {
        Class::ProcessLimit
    }

    fn check(&self, case: &Case) -> Checked {
        let shell = case.observed.console.as_ref().and_then(|it| it.shell.as_ref());
        let said = shell.and_then(|it| it.said.as_deref()).filter(|it| {
            let lower = it.to_lowercase();
            // A fork that fails for want of memory is another trouble.
            WORDS.iter().any(|word| lower.contains(word)) && !lower.contains("allocate memory")
        });
        let line = console::trouble(case, &["pids-limit"]).filter(|it| it.ago_ms <= RECENT_MS).last();
        if said.is_none() && (line.is_none() || shell.is_some_and(|it| it.answered && it.said.is_none())) {
            return Checked::No;
        }
        let confidence = match (said.is_some(), line.is_some()) {
            (true, true) => Confidence::Certain,
            (true, false) => Confidence::Likely,
            (false, _) => Confidence::Possible,
        };
        let mut draft = Draft::new(confidence);
        if let Some(text) = said {
            draft = draft.because("probe:shell", format!("the shell said: {text}")).detail("said", text);
        }
        if let Some(it) = line {
            draft = draft.because("console", it.title.clone());
        }
        Checked::Yes(draft)
    }
}
