//! `console-lost`: the console does not answer, the guest works.
//!
//! What: log labels come in time while the shell on the console is silent.
//! Why: it is never a hang; restarting the guest for it would be the harm.
//! Evidence: labels in time; the shell that does not answer.
//! False alarms: a person who types; probes pause for them, and the shell is then not asked.
//! Next steps: the getty or shell on that console.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console::{self, Labels};
use crate::sign::{cpu, task};

pub(super) struct ConsoleLost;

impl Rule for ConsoleLost {
    fn name(&self) -> &'static str {
        "console-lost"
    }

    fn class(&self) -> Class {
        Class::ConsoleLost
    }

    fn check(&self, case: &Case) -> Checked {
        if console::shell(case) != Some(false) {
            return Checked::No;
        }
        match console::labels(case) {
            Some(Labels::Going) => {}
            Some(_) => return Checked::No,
            None => {
                return Checked::Unknown(
                    "no labels are watched, so that a lost console is not told from a hang".to_owned(),
                );
            }
        }
        let mut draft = Draft::new(Confidence::Likely)
            .because("console:labels", "the application's labels come in time")
            .because("probe:shell", "the shell on the console does not answer");
        if cpu::all_busy(case) == Some(true) {
            draft = draft.although("capture:host", "every vCPU is busy: the shell may only be late");
            draft.confidence = Confidence::Possible;
        }
        if let Some(blocked) = task::blocked(case).filter(|it| !it.is_empty()) {
            draft = draft.although(task::source(case), format!("blocked: {}", task::names(&blocked)));
        }
        Checked::Yes(draft)
    }
}
