//! `boot-stuck`: the guest never finished booting.
//!
//! What: the console stopped before anything that only a booted guest shows, and has been silent since.
//! Why: a guest that was never up cannot be hung; what is missing is a device, an image or a key.
//! Evidence: the kernel's own word that it waits for its root device; else the phase and the silence.
//! False alarms: a slow boot. Without the kernel's word a minute of silence is needed.
//! Next steps: the last lines of the console; the disk that `root=` names.

use vmward_model::observed::BootPhase;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;

pub(super) struct BootStuck;

const SILENT_MS: u64 = 60_000;

impl Rule for BootStuck {
    fn name(&self) -> &'static str {
        "boot-stuck"
    }

    fn class(&self) -> Class {
        Class::BootStuck
    }

    fn check(&self, case: &Case) -> Checked {
        if console::was_up(case) {
            return Checked::No;
        }
        let Some(seen) = &case.observed.console else {
            return Checked::Unknown("the console was not captured".to_owned());
        };
        let waits = console::trouble(case, &["root-wait"]).last();
        let silent = seen.silent_ms.is_some_and(|it| it >= SILENT_MS);
        let silence = seen.silent_ms.map_or(String::new(), |it| format!("; silent for {} s", it / 1000));
        let draft = match (seen.phase, waits) {
            (Some(BootPhase::WaitsForRoot), _) | (Some(BootPhase::Kernel), Some(_)) => {
                let text = waits.map_or("the kernel waits for its root device", |it| &it.title);
                Draft::new(Confidence::Certain)
                    .because("console", format!("{text}{silence}"))
                    .detail("phase", text)
            }
            (Some(BootPhase::Kernel), None) if silent => Draft::new(Confidence::Likely)
                .because("console", format!("the kernel started and no program was seen to{silence}"))
                .detail("phase", "the kernel started, no program did"),
            (Some(BootPhase::Firmware), _) if silent => Draft::new(Confidence::Possible)
                .because("console", format!("firmware or boot loader text came last{silence}"))
                .detail("phase", "firmware or boot loader"),
            (Some(BootPhase::Init), _) if silent => Draft::new(Confidence::Possible)
                .because("console", format!("programs started, and neither prompt nor label came{silence}"))
                .detail("phase", "the first programs"),
            (None, _) => {
                return Checked::Unknown("the console does not tell how far the boot came".to_owned());
            }
            _ => return Checked::No,
        };
        Checked::Yes(draft)
    }
}
