//! Whether grace periods of RCU end, and who holds them up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TaskName;

/// Callbacks of one CPU that wait for a grace period or for being called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuCallbacks {
    /// The CPU.
    pub cpu: u32,
    /// How many.
    pub count: u64,
}

/// The state of RCU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rcu {
    /// Number of the grace period; the two low bits are its phase.
    pub gp_seq: u64,
    /// A grace period is under way.
    pub in_progress: bool,
    /// Since when, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Milliseconds since the grace-period kthread did anything. In a quiet guest it may be long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_ms: Option<u64>,
    /// Seconds after which the kernel itself calls a grace period stalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_sec: Option<u32>,
    /// The grace period is older than that.
    pub stalled: bool,
    /// CPUs that the grace period waits for. Any may be here for a moment.
    pub waiting_cpus: Vec<u32>,
    /// CPUs that an expedited grace period waits for.
    pub expedited_cpus: Vec<u32>,
    /// Preempted readers that the grace period waits for.
    pub waiting_tasks: Vec<TaskName>,
    /// Callbacks that wait, by CPU.
    pub callbacks: Vec<CpuCallbacks>,
    /// The kthread that drives grace periods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kthread: Option<TaskName>,
}
