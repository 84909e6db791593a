//! When a scenario's next round is due. The schedule never drifts: a late round does not move the
//! ones after it, and what was missed is counted.

use std::time::Duration;

use tokio::time::Instant;

/// The rounds of one scenario.
#[derive(Clone, Debug)]
pub struct Schedule {
    every: Duration,
    next: Instant,
    missed: u64,
}

/// A round that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was to begin.
    pub scheduled: Instant,
    /// How many rounds before it were missed since the last.
    pub missed: u64,
}

impl Schedule {
    /// The shortest interval: a scenario that asks for less gets this.
    pub const SHORTEST: Duration = Duration::from_millis(100);

    /// A round `every` so often, the first after `phase`.
    pub fn new(every: Duration, now: Instant, phase: Duration) -> Schedule {
        let every = every.max(Self::SHORTEST);
        Schedule { every, next: now + phase.min(every), missed: 0 }
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The round that is due now, if one is. `busy` says that the one before still runs: the round
    /// is then missed.
    pub fn due(&mut self, now: Instant, busy: bool) -> Option<Due> {
        let late = now.checked_duration_since(self.next)?;
        // Rounds whose whole interval is over are missed; the newest is the one that is due.
        let whole = late.as_nanos() / self.every.as_nanos().max(1);
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        let scheduled = self.next + self.every.saturating_mul(whole);
        self.next = scheduled + self.every;
        self.missed = self.missed.saturating_add(u64::from(whole));
        if busy {
            self.missed = self.missed.saturating_add(1);
            return None;
        }
        Some(Due { scheduled, missed: std::mem::take(&mut self.missed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_late_round_does_not_move_the_next_and_missed_ones_are_counted() {
        let start = Instant::now();
        let mut schedule = Schedule::new(SECOND, start, SECOND);
        assert_eq!(schedule.due(start, false), None);
        let late = start + SECOND + SECOND / 2;
        assert_eq!(schedule.due(late, false), Some(Due { scheduled: start + SECOND, missed: 0 }));
        assert_eq!(schedule.next(), start + 2 * SECOND);
        let later = start + 5 * SECOND;
        assert_eq!(schedule.due(later, false), Some(Due { scheduled: later, missed: 3 }));
        assert_eq!(schedule.due(start + 6 * SECOND, true), None);
        let due = schedule.due(start + 7 * SECOND, false).map(|it| it.missed);
        assert_eq!(due, Some(1), "a round that found the one before still running was missed");
    }
}
