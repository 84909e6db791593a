//! When something happened: UTC for people, `CLOCK_MONOTONIC` for arithmetic.
//!
//! UTC alone jumps when the host's clock is set, which is exactly when a hang is looked into.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Wall-clock time.
    pub utc: Timestamp,
    /// Nanoseconds of the host's `CLOCK_MONOTONIC`; comparable between processes of one boot.
    pub monotonic_ns: u64,
}

impl Stamp {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { utc: Timestamp::now(), monotonic_ns: monotonic_ns() }
    }

    /// Nanoseconds from `earlier` to `self`, zero when the order is the other way round.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.monotonic_ns.saturating_sub(earlier.monotonic_ns))
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC` (0 if the clock cannot be read, which Linux does not do).
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Ok(spec) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let seconds = u64::try_from(spec.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(spec.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_stamp_is_not_before_an_earlier_one() {
        let first = Stamp::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = Stamp::now();
        assert!(second.since(&first) >= std::time::Duration::from_millis(2));
        assert_eq!(first.since(&second), std::time::Duration::ZERO);
    }
}
