//! When to try again: exponential back-off with full jitter, so that the hosts of a fleet do not all come
//! back at once when their controller does.

use std::time::Duration;

use tokio::time::Instant;

/// The window of the first pause.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is shorter.
const SHORTEST: Duration = Duration::from_millis(100);
/// A peer cannot send us away for longer.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// The pace of tries at one thing.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    longest: Duration,
    failures: u32,
    again: Instant,
}

impl Pace {
    pub(super) fn new(longest: Duration) -> Pace {
        Pace { longest, failures: 0, again: Instant::now() }
    }

    /// It failed; `wish` is when the peer said to come again.
    pub(super) fn failed(&mut self, wish: Option<Duration>) {
        let window = FIRST.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let jitter = window.mul_f64(chance()).max(SHORTEST);
        self.again = Instant::now() + jitter.max(wish.unwrap_or_default().min(LONGEST_WISH));
    }

    /// It works.
    pub(super) fn works(&mut self) {
        self.failures = 0;
        self.again = Instant::now();
    }

    /// When to try again.
    pub(super) fn again(&self) -> Instant {
        self.again
    }

    pub(super) fn is_due(&self) -> bool {
        self.again <= Instant::now()
    }
}

/// From 0 to 1, evenly.
fn chance() -> f64 {
    // The low 32 bits of a UUID v4 are all random (RFC 9562).
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest_and_no_further_through_hours_of_failure() {
        let longest = Duration::from_secs(300);
        let mut longest_seen = Duration::ZERO;
        for _ in 0..20 {
            let mut pace = Pace::new(longest);
            for n in 0..200u32 {
                pace.failed(None);
                let pause = pace.again() - Instant::now();
                let window = Duration::from_secs(1 << n.min(20)).min(longest);
                assert!(pause >= SHORTEST && pause <= window, "{n}: {pause:?}");
                longest_seen = longest_seen.max(pause);
            }
            pace.works();
            assert!(pace.is_due());
        }
        assert!(longest_seen > longest / 2, "jitter covers the window: {longest_seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_peer_wishes_is_kept_within_reason() {
        let mut pace = Pace::new(Duration::from_secs(2));
        pace.failed(Some(Duration::from_secs(120)));
        assert_eq!(pace.again() - Instant::now(), Duration::from_secs(120));
        pace.failed(Some(Duration::from_secs(1 << 40)));
        assert_eq!(pace.again() - Instant::now(), LONGEST_WISH);
    }
}
