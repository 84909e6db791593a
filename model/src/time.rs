//! A moment, told twice: by the wall clock for people and by the monotonic clock for arithmetic.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One moment on this host. The wall clock may jump, the monotonic one may not, so ages are
/// computed from `mono_ms` and only within one boot of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    /// Wall-clock time in UTC.
    pub utc: Timestamp,
    /// `CLOCK_BOOTTIME` of the host in milliseconds.
    pub mono_ms: u64,
}

impl Stamp {
    /// Milliseconds from `earlier` to this moment; zero when the order is the other way round.
    pub fn ms_since(&self, earlier: &Stamp) -> u64 {
        self.mono_ms.saturating_sub(earlier.mono_ms)
    }
}
