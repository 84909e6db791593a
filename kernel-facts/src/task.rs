//! A task (thread) of the guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CgroupV1, Frame, Scheduling, Syscall, TaskKind, TaskMemory, TimeInState};

/// A task state by the letter that the kernel prints for it.
///
/// Letters and names: `task_state_array` in `fs/proc/array.c`; `I` since v4.14 (commit
/// 06eb61844d84), `P` since v4.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TaskState {
    /// Running or waiting for a CPU.
    R,
    /// Interruptible sleep.
    S,
    /// Uninterruptible sleep; SysRq `w` lists these.
    D,
    /// Stopped by a signal.
    T,
    /// Stopped by a tracer.
    #[serde(rename = "t")]
    Traced,
    /// Dead.
    X,
    /// Zombie: exited, its parent has not asked for it.
    Z,
    /// Parked kernel thread.
    P,
    /// Idle kernel thread: `D` that does not count as load (`TASK_IDLE`).
    I,
}

impl TaskState {
    /// Every state, in the order of the kernel's table.
    pub const ALL: [TaskState; 9] =
        [Self::R, Self::S, Self::D, Self::T, Self::Traced, Self::X, Self::Z, Self::P, Self::I];

    /// The state of a letter; `None` for what no kernel prints.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.letter() == letter)
    }

    /// The letter in `/proc/PID/stat` and in SysRq dumps.
    pub fn letter(self) -> char {
        match self {
            Self::R => 'R',
            Self::S => 'S',
            Self::D => 'D',
            Self::T => 'T',
            Self::Traced => 't',
            Self::X => 'X',
            Self::Z => 'Z',
            Self::P => 'P',
            Self::I => 'I',
        }
    }

    /// The kernel's own name for it, as in `/proc/PID/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::R => "running",
            Self::S => "sleeping",
            Self::D => "disk sleep",
            Self::T => "stopped",
            Self::Traced => "tracing stop",
            Self::X => "dead",
            Self::Z => "zombie",
            Self::P => "parked",
            Self::I => "idle",
        }
    }
}

/// A task (thread) of the guest as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Thread id; `None` when a torn line lost it.
    pub pid: Option<u32>,
    /// Process id. SysRq prints it since v6.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tgid: Option<u32>,
    /// Parent's process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Name, at most 15 bytes in a SysRq dump. Guest text: any character may be in it.
    pub comm: String,
    /// State; `None` when a torn line lost it.
    pub state: Option<TaskState>,
    /// The CPU that it was running on, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_cpu: Option<u32>,
    /// The dump marked it `running task`: runnable, not necessarily on a CPU.
    #[serde(default)]
    pub running: bool,
    /// Thread-info flags (`TIF_*`, architecture's numbering).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u64>,
    /// Task flags (`PF_*`). SysRq prints them in v7.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_flags: Option<u64>,
    /// Kernel stack, innermost frame first.
    #[serde(default)]
    pub stack: Vec<Frame>,
    /// The line that named this task was damaged: name and missing fields may be incomplete.
    #[serde(default)]
    pub torn: bool,
    /// Guest-virtual address of its `task_struct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// Whose work it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TaskKind>,
    /// Name of a kernel thread whose name is longer than `comm` can be (kept since v5.17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// Bits of the state (`TASK_*`) as the kernel holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_bits: Option<u32>,
    /// How long it has been in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_state: Option<TimeInState>,
    /// The CPU that it is on, waits for, or was on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// How it is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Command line, its arguments joined by spaces. Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Path in the hierarchy of version-2 cgroups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Places in hierarchies of version-1 cgroups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups_v1: Vec<CgroupV1>,
    /// Symbol that it sleeps in, as `/proc/PID/wchan` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// System call that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<Syscall>,
    /// Its thread ids from the outermost PID namespace to its own; empty outside of nested ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pids: Vec<u32>,
    /// When it started: nanoseconds since boot, with suspended time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ns: Option<u64>,
    /// Effective user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Memory of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<TaskMemory>,
}

impl Task {
    /// A task of which only name, pid and state are known.
    pub fn new(pid: u32, comm: impl Into<String>, state: TaskState) -> Self {
        Self {
            pid: Some(pid),
            tgid: None,
            ppid: None,
            comm: comm.into(),
            state: Some(state),
            on_cpu: None,
            running: false,
            flags: None,
            task_flags: None,
            stack: Vec::new(),
            torn: false,
            address: None,
            kind: None,
            full_name: None,
            state_bits: None,
            in_state: None,
            cpu: None,
            scheduling: None,
            command_line: None,
            cgroup: None,
            cgroups_v1: Vec::new(),
            wchan: None,
            syscall: None,
            ns_pids: Vec::new(),
            started_ns: None,
            uid: None,
            memory: None,
        }
    }

    /// Uninterruptible sleep. `I` is not: an idle kernel thread waits for work, not in trouble.
    pub fn is_blocked(&self) -> bool {
        self.state == Some(TaskState::D)
    }

    /// Where it waits or runs: the innermost frame that is not the scheduler's own, reliable ones first.
    pub fn wait_channel(&self) -> Option<&Frame> {
        let interesting = |it: &&Frame| it.symbol.is_some() && !crate::is_scheduler_glue(it.name());
        self.stack
            .iter()
            .filter(|it| it.sure)
            .find(interesting)
            .or_else(|| self.stack.iter().find(interesting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_letter_and_comes_back_from_it() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_letter(state.letter()), Some(state));
        }
        assert_eq!(TaskState::from_letter('d'), None);
        assert_eq!(TaskState::from_letter('t'), Some(TaskState::Traced));
        assert_eq!(TaskState::from_letter('T'), Some(TaskState::T));
    }

    #[test]
    fn only_d_is_blocked() {
        assert!(Task::new(1, "a", TaskState::D).is_blocked());
        assert!(!Task::new(1, "kworker/0:1", TaskState::I).is_blocked());
    }

    #[test]
    fn the_wait_channel_is_past_the_scheduler() {
        let mut task = Task::new(7, "dd", TaskState::D);
        let stale = Frame { sure: false, ..Frame::named("finish_task_switch.isra.0") };
        task.stack =
            ["__switch_to", "__schedule", "schedule", "io_schedule", "rq_qos_wait"].map(Frame::named).into();
        task.stack.insert(0, stale);
        assert_eq!(task.wait_channel().map(Frame::name), Some("io_schedule"));
    }
}
