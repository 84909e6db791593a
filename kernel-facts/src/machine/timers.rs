//! Timers that are set, and whether they are served.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A timer that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingTimer {
    /// What it will call; of delayed work the function of the work.
    pub function: String,
    /// Milliseconds until then; negative if it should have been called by now.
    pub due_ms: i64,
}

/// Timers of one CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuTimers {
    /// The CPU.
    pub cpu: u32,
    /// Timers of the wheel that are set.
    pub pending: u64,
    /// Of these, timers that are late by more than a second: nobody serves them.
    pub overdue: u64,
    /// The first ones to come.
    pub next: Vec<PendingTimer>,
    /// The timer of the wheel whose function runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// The first high-resolution timer to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_high_resolution: Option<PendingTimer>,
    /// Times that high-resolution timers kept the CPU for too long.
    pub hangs: u32,
}
