//! The guest's clocks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The guest's clocks, as they stood when its kernel last brought them forward: a tick ago in a healthy
/// guest, longer ago in one that hangs or idles without ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Time since boot in nanoseconds, without suspend (`CLOCK_MONOTONIC`).
    pub monotonic_nsec: u64,
    /// Time since boot in nanoseconds, with suspend: `/proc/uptime`.
    pub uptime_nsec: u64,
    /// Wall clock in nanoseconds since 1970.
    pub wall_nsec: i64,
    /// Wall clock at the zero of `monotonic_nsec`, in nanoseconds since 1970.
    pub boot_nsec: i64,
    /// Name of the clock source (`kvm-clock`, `tsc`, `arch_sys_counter`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Ticks since boot; they begin five minutes before zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jiffies: Option<u64>,
    /// Ticks of a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
}
