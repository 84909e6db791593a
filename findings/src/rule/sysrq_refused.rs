//! `sysrq-refused`: the kernel's mask refused SysRq keys.
//!
//! What: `This sysrq operation is disabled.` came back.
//! Why: the chart lacks what these keys give; the reader should know that it was asked for.
//! Evidence: the keys. A refusal also proves that interrupts and printk work.
//! False alarms: none known.
//! Next steps: `kernel.sysrq` in the guest (Debian's 438 lacks 8, "dumps").

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct SysrqRefused;

impl Rule for SysrqRefused {
    fn name(&self) -> &'static str {
        "sysrq-refused"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(seen) = case.kernel.sysrq.as_ref().filter(|it| !it.refused.is_empty()) else {
            return Checked::No;
        };
        let keys: Vec<String> = seen.refused.iter().map(char::to_string).collect();
        let keys = keys.join(" ");
        Checked::Yes(
            Draft::new(Confidence::Certain)
                .because("capture:sysrq", format!("the kernel refused SysRq {keys} (by {})", seen.path))
                .detail("keys", keys),
        )
    }
}
