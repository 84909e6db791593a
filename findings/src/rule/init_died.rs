//! `init-died`: the guest's first program ended, and the kernel panicked for it.
//!
//! What: `Attempted to kill init!` on the console.
//! Why: the kernel is sound; what is to be mended is the program with PID 1.
//! Evidence: the panic's own line.
//! False alarms: as for a panic.
//! Next steps: the exit code in the line; what PID 1 printed before it.

use vmward_model::Class;

use super::{Checked, Rule, panicked};
use crate::Case;

pub(super) struct InitDied;

impl Rule for InitDied {
    fn name(&self) -> &'static str {
        "init-died"
    }

    fn class(&self) -> Class {
        Class::InitDied
    }

    fn check(&self, case: &Case) -> Checked {
        panicked::check(case, &["init-died"], false)
    }
}
