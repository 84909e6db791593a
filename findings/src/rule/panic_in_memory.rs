//! `panic-in-memory`: the kernel panicked, and its console does not say so.
//!
//! What: the kernel's memory names the CPU that panics (`panic_cpu`), and no panic was seen on the console.
//! Why: a console that is off, lost, quiet or slow hides a panic; nothing runs after it.
//! Evidence: the CPU and its stack; taints.
//! False alarms: none known; the kernel sets it in `panic()` only.
//! Next steps: the kernel's log, which was read from memory.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, init_died, panicked};
use crate::Case;
use crate::sign::look;
use crate::sign::wait::{NOT_READ, SOURCE};

pub(super) struct PanicInMemory;

impl Rule for PanicInMemory {
    fn name(&self) -> &'static str {
        "panic-in-memory"
    }

    fn class(&self) -> Class {
        Class::Panicked
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(system) = &look.machine.system else {
            return Checked::Unknown("the guest's panic state could not be read".to_owned());
        };
        let Some(cpu) = system.panic.cpu else { return Checked::No };
        let told: [&dyn Rule; 2] = [&panicked::Panicked, &init_died::InitDied];
        if told.iter().any(|it| matches!(it.check(case), Checked::Yes(_))) {
            return Checked::No;
        }
        let mut draft = Draft::new(Confidence::Certain)
            .detail("cpu", cpu)
            .detail("running", look::runs(case, cpu))
            .because(SOURCE, format!("the kernel panics on {}", look::cpu(case, cpu)));
        for it in &system.taints {
            draft = draft.because(SOURCE, format!("taint {}: {}", it.letter, it.reason));
        }
        Checked::Yes(draft.because("console", "the console shows no panic"))
    }
}
