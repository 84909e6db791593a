//! `userspace-hung`: the kernel works, user space does not.
//!
//! What: the application's labels stopped while vCPUs rest, no disk owes anything and no task waits
//! for storage or a lock.
//! Why: somebody stopped the tasks (a freezer, a signal, a debugger), or they wait for each other.
//! Evidence: labels stopped; idle vCPUs; a shell or a SysRq key that answers; tasks in a freezer.
//! False alarms: without a list of tasks a lock cannot be ruled out: then it is merely possible.
//! Next steps: cgroup freezers, stopped tasks, what the application waits for.

use vmward_kernel_facts::{TaskState, WaitKind, wait_kind};
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console::{self, Labels};
use crate::sign::{count, cpu, disk, task};

pub(super) struct UserspaceHung;

impl Rule for UserspaceHung {
    fn name(&self) -> &'static str {
        "userspace-hung"
    }

    fn class(&self) -> Class {
        Class::UserspaceHung
    }

    fn check(&self, case: &Case) -> Checked {
        let labels = console::labels(case);
        let shell = console::shell(case);
        let sysrq = case.kernel.sysrq.as_ref().is_some_and(|it| it.shows_life());
        let stopped = match labels {
            Some(Labels::Stopped(ms)) => {
                format!("the application's labels stopped {:.1} s ago", ms as f64 / 1000.0)
            }
            None if shell == Some(false) && console::was_up(case) => "the shell does not answer".to_owned(),
            _ => return Checked::No,
        };
        if shell != Some(true) && !sysrq {
            return Checked::Unknown("neither shell nor SysRq shows that the kernel works".to_owned());
        }
        if cpu::all_busy(case) == Some(true) {
            return Checked::No;
        }
        if disk::owing(case).is_some_and(|it| !it.is_empty()) {
            return Checked::No;
        }
        let blocked = task::blocked(case);
        let held = |it: WaitKind| {
            it.is_io()
                || it.is_lock()
                || matches!(it, WaitKind::FsFreeze | WaitKind::Fuse | WaitKind::Network)
        };
        if blocked.as_ref().is_some_and(|it| !task::waiting(it, held).is_empty()) {
            return Checked::No;
        }
        let mut draft = Draft::new(Confidence::Possible).because("console:labels", stopped);
        if shell == Some(true) {
            draft = draft.because("probe:shell", "the shell answers");
        }
        if sysrq {
            draft = draft.because("capture:sysrq", "the kernel answers SysRq");
        }
        match cpu::all_idle(case) {
            Some(true) => draft = draft.because("capture:host", "every vCPU rests"),
            Some(false) => draft = draft.although("capture:host", "some vCPU works"),
            None => {}
        }
        match &blocked {
            Some(it) if it.is_empty() => {
                draft = draft.because(task::source(case), "no task is blocked");
                draft.confidence = Confidence::Likely;
            }
            Some(it) => {
                draft = draft.although(task::source(case), format!("blocked: {}", task::names(it)));
                draft.confidence = Confidence::Likely;
            }
            None => draft = draft.although(task::source(case), task::why_no_list(case)),
        }
        let tasks = case.kernel.tasks.as_ref().map_or(&[][..], |it| it);
        let frozen = tasks.iter().filter(|it| {
            wait_kind(it) == Some(WaitKind::Freezer)
                || matches!(it.state, Some(TaskState::T | TaskState::Traced))
        });
        let frozen = frozen.count();
        if frozen > 0 {
            draft = draft
                .because(task::source(case), format!("{} frozen or stopped", count(frozen, "task")))
                .detail("frozen", frozen);
        }
        Checked::Yes(draft)
    }
}
