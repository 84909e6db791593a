//! What each CPU runs, and what waits for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A task, by what tells it from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskName {
    /// Thread id; 0 is an idle task.
    pub pid: u32,
    /// Name. Guest text.
    pub comm: String,
    /// Guest-virtual address of its `task_struct`.
    pub address: u64,
}

/// The scheduler's class of a task that waits for a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchedClass {
    /// Real-time, with the user's priority: 1 low, 99 high.
    RealTime(u32),
    /// Fair: everything else that is not deadline.
    Fair,
}

/// A task that could run but does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedTask {
    /// Which.
    pub task: TaskName,
    /// Its class.
    pub class: SchedClass,
    /// For how long it has waited for the CPU, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_nsec: Option<u64>,
}

/// One CPU's queue of runnable tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunQueue {
    /// The kernel's number of the CPU.
    pub cpu: u32,
    /// What it runs, as the scheduler has it.
    pub current: TaskName,
    /// What the CPU itself says that it runs, where that is another one: it is just switching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switching: Option<TaskName>,
    /// It runs its idle task.
    pub idle: bool,
    /// For how long it has run that task without another, in nanoseconds; not told for the idle task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_nsec: Option<u64>,
    /// Its clock in nanoseconds since boot; that of an idle CPU stands still.
    pub clock_nsec: u64,
    /// Runnable tasks, with the one that runs.
    pub nr_running: u32,
    /// Of these fair ones.
    pub fair: u32,
    /// Of these real-time ones.
    pub real_time: u32,
    /// Of these deadline ones.
    pub deadline: u32,
    /// Real-time tasks are kept from running, since they used up their share. Kernels before v6.12 tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_time_throttled: Option<bool>,
    /// Switches from task to task since boot. If it stands still, one task keeps the CPU or it is idle.
    pub nr_switches: u64,
    /// Sleeping tasks that wait for a disk and slept on this CPU last.
    pub nr_iowait: u32,
    /// Fair and real-time tasks that wait, real-time ones first.
    #[serde(default)]
    pub waiting: Vec<QueuedTask>,
}
