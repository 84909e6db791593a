//! How much time tasks lost for want of CPU, memory and disk (PSI).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of a file in `/proc/pressure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PressureLine {
    /// Share of the last 10, 60 and 300 seconds, in hundredths of a percent.
    pub average: [u64; 3],
    /// Microseconds in all.
    pub total_usec: u64,
}

/// Pressure of the whole system. The kernel brings it forward every two seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Some task waited for a disk.
    pub io_some: PressureLine,
    /// All did.
    pub io_full: PressureLine,
    /// Some task waited for memory.
    pub memory_some: PressureLine,
    /// All did.
    pub memory_full: PressureLine,
    /// Some task waited for a CPU.
    pub cpu_some: PressureLine,
}
