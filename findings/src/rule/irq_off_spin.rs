//! `irq-off-spin`: one or more vCPUs spin with interrupts off.
//!
//! What: in every sample a vCPU has interrupts off, does not sleep, and stays within a few bytes of
//! code, while its host thread uses a CPU.
//! Why: that CPU takes no timer and no IPI; sooner or later all others wait for it.
//! Evidence: registers, taken without a stop; host CPU time; whether SysRq is answered at all.
//! False alarms: firmware that polls with interrupts off, hence not before the kernel runs; a
//! sleeping arm64 CPU has interrupts masked too, hence the sleep and CPU time checks.
//! Next steps: the code at that address; an NMI backtrace; restart.

use vmward_model::observed::BootPhase;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;
use crate::sign::{count, cpu};

pub(super) struct IrqOffSpin;

impl Rule for IrqOffSpin {
    fn name(&self) -> &'static str {
        "irq-off-spin"
    }

    fn class(&self) -> Class {
        Class::IrqOffSpin
    }

    fn check(&self, case: &Case) -> Checked {
        if case.observed.vcpus.is_none() {
            return Checked::Unknown("registers were not captured".to_owned());
        }
        let vcpus = cpu::vcpus(case);
        let spinning: Vec<_> = vcpus
            .iter()
            .filter(|it| it.interrupts_off == Some(true) && it.busy != Some(false))
            .filter(|it| it.in_user != Some(true))
            .filter_map(|it| it.stays_at.map(|at| (it, at)))
            .collect();
        if spinning.is_empty() {
            return Checked::No;
        }
        if console::phase(case) == Some(BootPhase::Firmware) {
            return Checked::Unknown("firmware may poll with interrupts off".to_owned());
        }
        let mut draft = Draft::new(Confidence::Likely)
            .detail("vcpus", spinning.iter().map(|it| it.0.index.to_string()).collect::<Vec<_>>().join(", "))
            .detail("spinning", count(spinning.len(), "vCPU"))
            .detail("all", vcpus.len());
        for (vcpu, at) in &spinning {
            let text =
                format!("vCPU {} has interrupts off in every sample and stays near {at:#x}", vcpu.index);
            draft = draft.because("capture:registers", text);
            if let Some(percent) = vcpu.percent {
                draft = draft.because(
                    "capture:host",
                    format!("the thread of vCPU {} uses {percent} % of a CPU", vcpu.index),
                );
            }
        }
        match &case.kernel.sysrq {
            Some(it) if !it.shows_life() && !it.silent.is_empty() => {
                draft = draft.because("capture:sysrq", "no SysRq key was answered");
            }
            Some(it) if it.shows_life() && spinning.len() == vcpus.len() => {
                draft = draft.although("capture:sysrq", "SysRq was answered, so some CPU takes interrupts");
                draft.confidence = Confidence::Possible;
            }
            _ => {}
        }
        Checked::Yes(draft)
    }
}
