//! `oops-in-memory`: the kernel oopsed at some time, and its console does not say so.
//!
//! What: the kernel is tainted by an oops (`TAINT_DIE`), or is in the middle of one; no such report was seen
//! on the console in the last minutes.
//! Why: a task that died in the kernel leaves locks held and data half changed.
//! Evidence: taint, the kernel's count of oopses.
//! False alarms: it may have been long ago and without consequence: hence possible, unless it happens now.
//! Next steps: the kernel's log, which was read from memory.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, kernel_oops, panic_in_memory, panicked};
use crate::Case;
use crate::sign::wait::{NOT_READ, SOURCE};

pub(super) struct OopsInMemory;

impl Rule for OopsInMemory {
    fn name(&self) -> &'static str {
        "oops-in-memory"
    }

    fn class(&self) -> Class {
        Class::KernelOops
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(look) = &case.kernel.look else { return Checked::Unknown(NOT_READ.to_owned()) };
        let Some(system) = &look.machine.system else {
            return Checked::Unknown("the guest's taints could not be read".to_owned());
        };
        let died = system.taints.iter().find(|it| it.letter == 'D');
        let now = system.panic.oops_in_progress > 0;
        let told: [&dyn Rule; 3] =
            [&kernel_oops::KernelOops, &panicked::Panicked, &panic_in_memory::PanicInMemory];
        if (died.is_none() && !now) || told.iter().any(|it| matches!(it.check(case), Checked::Yes(_))) {
            return Checked::No;
        }
        let mut draft = Draft::new(if now { Confidence::Likely } else { Confidence::Possible });
        if let Some(it) = died {
            draft = draft.because(SOURCE, format!("taint {}: {}", it.letter, it.reason));
        }
        if let Some(it) = system.panic.oops_count.filter(|it| *it > 0) {
            draft = draft.because(SOURCE, format!("oopses since boot: {it}")).detail("oopses", it);
        }
        if now {
            draft = draft.because(SOURCE, "an oops is being printed").detail("now", "now");
        } else {
            draft = draft.although(SOURCE, "when it was is not known: it may be long ago");
        }
        Checked::Yes(draft)
    }
}
