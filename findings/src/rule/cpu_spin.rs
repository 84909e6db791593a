//! `cpu-spin`: every vCPU spins with interrupts on; ordinary tasks do not get to run.
//!
//! What: all vCPUs use their host CPUs fully, user space is silent, and no disk owes an answer.
//! Why: real-time tasks, or a kernel that never schedules, starve everything else.
//! Evidence: host CPU time and registers of all vCPUs; labels and shell silent; SysRq answered, which
//! proves that interrupts work; soft lockup and RCU stall lines.
//! False alarms: a guest that is merely busy still shows life and is `busy`; a starved host makes a
//! guest slow, and is told as evidence against.
//! Next steps: who runs (SysRq `l`, `t`); priority and policy of these tasks.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::{console, cpu, disk, task};

pub(super) struct CpuSpin;

impl Rule for CpuSpin {
    fn name(&self) -> &'static str {
        "cpu-spin"
    }

    fn class(&self) -> Class {
        Class::CpuSpin
    }

    fn check(&self, case: &Case) -> Checked {
        match cpu::all_busy(case) {
            None => return Checked::Unknown("how busy the vCPUs are is not known".to_owned()),
            Some(false) => return Checked::No,
            Some(true) => {}
        }
        if !console::user_space_silent(case) {
            return Checked::No;
        }
        let vcpus = cpu::vcpus(case);
        let mut draft = Draft::new(Confidence::Possible)
            .because("capture:host", format!("every vCPU is busy: {}", cpu::load(&vcpus)))
            .because("probe", "user space is silent")
            .detail("load", cpu::load(&vcpus));
        let mut agreeing = 0;
        if case.kernel.sysrq.as_ref().is_some_and(|it| it.shows_life()) {
            draft = draft.because("capture:sysrq", "SysRq is answered: interrupts and printk work");
            agreeing += 1;
        }
        if vcpus.iter().any(|it| it.interrupts_off == Some(false)) {
            draft = draft.because("capture:registers", "interrupts are on in some samples");
            agreeing += 1;
        }
        let lockups: Vec<_> =
            console::trouble(case, &["soft-lockup", "rcu-stall", "workqueue-lockup"]).collect();
        if let Some(last) = lockups.last() {
            draft = draft.because("console", last.title.clone());
            agreeing += 1;
        }
        let running = case.kernel.cpus.as_ref().map_or(&[][..], |it| it);
        let names: Vec<_> =
            running.iter().filter(|it| !it.idle).filter_map(|it| it.comm.as_deref()).collect();
        if !names.is_empty() {
            draft = draft.because(task::source(case), format!("running: {}", names.join(", ")));
            draft = draft.detail("running", names.join(", "));
        }
        let mut against = false;
        if disk::owing(case).is_some_and(|it| !it.is_empty()) {
            draft = draft.although("capture:queues", "a disk owes answers");
            against = true;
        }
        if disk::ops_per_second(case).is_some_and(|it| it >= 20.0) {
            draft = draft.although("capture:blocks", "the disks are busy");
            against = true;
        }
        let pressure = case.observed.host.as_ref().and_then(|it| it.pressure.get("cpu.some.avg10"));
        if let Some(it) = pressure.filter(|it| **it >= 50.0) {
            draft = draft.although("capture:host", format!("the host itself is short of CPU ({it:.0} %)"));
        }
        if agreeing > 0 && !against {
            draft.confidence = Confidence::Likely;
        }
        Checked::Yes(draft)
    }
}
