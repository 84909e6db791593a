//! What only the kernel's own memory tells of a task: a console never prints it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose work a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// A thread of a process of user space.
    User,
    /// A kernel thread (`PF_KTHREAD`).
    Kernel,
    /// What a CPU runs when there is nothing to do.
    Idle,
}

/// How long a task has been in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TimeInState {
    /// Nanoseconds. Of a sleeping task since it last came onto a CPU, so its last turn is in it; of a
    /// runnable one since it began to wait for a CPU; of a running one since it came onto it.
    pub ns: u64,
    /// `false` when the kernel's clock stood still: it does while every CPU is idle, and then `ns` is too
    /// small by an unknown time.
    pub sure: bool,
}

/// A scheduling policy: `include/uapi/linux/sched.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedPolicy {
    /// `SCHED_OTHER`: the fair share.
    Other,
    /// `SCHED_FIFO`: real time, until it yields.
    Fifo,
    /// `SCHED_RR`: real time in turns.
    RoundRobin,
    /// `SCHED_BATCH`.
    Batch,
    /// `SCHED_IDLE`.
    Idle,
    /// `SCHED_DEADLINE`.
    Deadline,
    /// `SCHED_EXT`: a scheduler in BPF, since v6.12.
    Ext,
}

impl SchedPolicy {
    /// The policy of a number; 4 was never used.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Other,
            1 => Self::Fifo,
            2 => Self::RoundRobin,
            3 => Self::Batch,
            5 => Self::Idle,
            6 => Self::Deadline,
            7 => Self::Ext,
            _ => return None,
        })
    }

    /// Whether it goes before all that share fairly.
    pub fn is_real_time(self) -> bool {
        matches!(self, Self::Fifo | Self::RoundRobin | Self::Deadline)
    }
}

/// How a task is scheduled, and how often it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Scheduling {
    /// Policy; `None` for a number that no kernel uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<SchedPolicy>,
    /// Nice value, -20 to 19.
    pub nice: i32,
    /// Priority as in `/proc/PID/stat`: 0 to 39 for the fair, below 0 for real time. A lock's priority
    /// inheritance shows here.
    pub priority: i32,
    /// Real-time priority, 1 to 99, or 0.
    pub rt_priority: u32,
    /// Times that it gave up its CPU (`nvcsw`).
    pub voluntary_switches: u64,
    /// Times that its CPU was taken from it (`nivcsw`).
    pub involuntary_switches: u64,
}

/// A system call that a task is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Syscall {
    /// Number, in the numbering of the architecture.
    pub number: i64,
    /// Its name (`read`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The registers of its arguments. What is beyond those that it takes is left over.
    pub args: [u64; 6],
    /// User stack pointer at the call.
    pub user_sp: u64,
    /// User instruction pointer behind the call.
    pub user_ip: u64,
    /// Called in the 32-bit way, with numbers of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compat: bool,
    /// The arguments that are file descriptors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SyscallFile>,
}

/// An argument of a system call that is a file descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SyscallFile {
    /// Which argument, from 0.
    pub argument: u8,
    /// The descriptor; -100 (`AT_FDCWD`) for the working directory.
    pub fd: i32,
    /// Path as the guest's root sees it, or `pipe:[INODE]`, `socket:[INODE]`, `anon_inode:NAME`. Guest text.
    /// `None` when the descriptor is not open or could not be followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The place of a task in one hierarchy of version-1 cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CgroupV1 {
    /// Number of the hierarchy.
    pub hierarchy: u32,
    /// Its controllers, or `name=NAME`.
    pub controllers: Vec<String>,
    /// Path in it.
    pub path: String,
}

/// Memory of the process that a task belongs to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct TaskMemory {
    /// Address space.
    pub virtual_bytes: u64,
    /// Resident: anonymous, of files and shared.
    pub resident_bytes: u64,
    /// Resident and of no file.
    pub anonymous_bytes: u64,
    /// Swapped out.
    pub swapped_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_the_kernels_numbers() {
        use SchedPolicy::*;
        let all: Vec<_> = (0..9).map(SchedPolicy::from_number).collect();
        let want = [Some(Other), Some(Fifo), Some(RoundRobin), Some(Batch), None, Some(Idle), Some(Deadline)];
        assert_eq!(all[..7], want);
        assert_eq!(all[7..], [Some(Ext), None]);
        assert!(Fifo.is_real_time() && !Ext.is_real_time());
    }
}
