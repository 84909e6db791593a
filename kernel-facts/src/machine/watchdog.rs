//! What the kernel's own lockup detectors have seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The detectors' marks on one CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuWatchdog {
    /// The CPU.
    pub cpu: u32,
    /// Seconds since its scheduler last ran the highest-priority task, as the soft-lockup detector has it;
    /// `None` if the mark was just reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untouched_sec: Option<u64>,
    /// The CPU has not scheduled for longer than the kernel allows.
    pub soft_lockup: bool,
    /// Ticks of the detector's timer. If they stand still, the CPU takes no interrupts.
    pub timer_ticks: u32,
    /// The same as the hard-lockup detector last saw it, where it is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer_ticks_saved: Option<u32>,
}

/// What the lockup detectors have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watchdog {
    /// The detectors run.
    pub enabled: bool,
    /// Seconds; a soft lockup is reported at twice that.
    pub threshold_sec: u32,
    /// Their marks by CPU.
    pub cpus: Vec<CpuWatchdog>,
}
