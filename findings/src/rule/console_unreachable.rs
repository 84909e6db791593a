//! `console-unreachable`: the console could not be reached during the diagnosis.
//!
//! What: the agent was not connected to the guest's console.
//! Why: silence of a console that nobody listens to says nothing of the guest.
//! Evidence: the connection's state.
//! False alarms: none known.
//! Next steps: `vmward discover -o wide`; who else holds the console.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct ConsoleUnreachable;

impl Rule for ConsoleUnreachable {
    fn name(&self) -> &'static str {
        "console-unreachable"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        match &case.observed.console {
            Some(it) if !it.connected => Checked::Yes(
                Draft::new(Confidence::Certain).because("transport:console", "the console was not connected"),
            ),
            _ => Checked::No,
        }
    }
}
