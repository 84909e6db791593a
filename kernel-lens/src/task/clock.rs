//! The scheduler's clock, and what every CPU runs.

use std::collections::HashSet;

use vmward_kernel_facts::{TaskState, TimeInState};

use crate::{Kernel, ReadError};

/// What the runqueues say.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest `rq.clock`: a CPU that hangs does not move its own.
    now: Option<u64>,
    /// Every CPU is idle, so that none of the clocks moves.
    stands: bool,
    /// The idle task of each CPU.
    pub(super) idle: Vec<u64>,
    /// What runs on each CPU.
    pub(super) running: HashSet<u64>,
}

/// The times of a task that the scheduler keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When it came onto a CPU the last time.
    pub(super) arrived: u64,
    /// When it began to wait for one; 0 while it does not.
    pub(super) queued: u64,
    pub(super) on_cpu: bool,
}

/// What a clock may be behind another CPU's: one that is ahead by more is torn.
const SKEW_NS: u64 = 10_000_000_000;

impl Clock {
    pub(super) fn read(kernel: &Kernel<'_>) -> Self {
        let mut clock = Self { stands: true, ..Self::default() };
        let at = |member: &str| kernel.offset("rq", member);
        for cpu in kernel.cpus() {
            let Some(rq) = kernel.per_cpu("runqueues", *cpu) else { continue };
            let word = |offset: Option<u64>| -> Option<u64> {
                let read: Result<u64, ReadError> = kernel.space.u64(rq.wrapping_add(offset?));
                read.ok()
            };
            clock.now = clock.now.max(word(at("clock")));
            let (idle, running) = (word(at("idle")), word(at("curr")));
            clock.stands &= idle.is_some() && idle == running;
            clock.idle.extend(idle);
            clock.running.extend(running);
        }
        clock
    }

    /// Nanoseconds of the latest clock.
    pub(super) fn now(&self) -> Option<u64> {
        self.now
    }

    /// How long a task has been in its state; see [`TimeInState`].
    pub(super) fn in_state(&self, state: TaskState, times: Times) -> Option<TimeInState> {
        let now = self.now?;
        let waits = state == TaskState::R && !times.on_cpu;
        let since = if waits { times.queued } else { times.arrived };
        if since == 0 || since > now.saturating_add(SKEW_NS) {
            return None;
        }
        Some(TimeInState { ns: now.saturating_sub(since), sure: !self.stands && since <= now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_state_counts_from_the_moment_that_fits_the_state() {
        let clock = Clock { now: Some(1_000), ..Clock::default() };
        let times = Times { arrived: 400, queued: 900, on_cpu: false };
        let ns = |state, times| clock.in_state(state, times).map(|it| it.ns);
        assert_eq!(ns(TaskState::D, times), Some(600));
        assert_eq!(ns(TaskState::R, times), Some(100));
        assert_eq!(ns(TaskState::R, Times { on_cpu: true, ..times }), Some(600));
        assert_eq!(ns(TaskState::R, Times { queued: 0, ..times }), None);
        assert_eq!(ns(TaskState::S, Times { arrived: u64::MAX, ..times }), None);
    }

    #[test]
    fn a_clock_that_stands_is_not_sure() {
        let clock = Clock { now: Some(1_000), stands: true, ..Clock::default() };
        let times = Times { arrived: 400, queued: 0, on_cpu: false };
        assert_eq!(clock.in_state(TaskState::S, times), Some(TimeInState { ns: 600, sure: false }));
        let ahead = Times { arrived: 1_001, ..times };
        let moving = Clock { stands: false, ..clock };
        assert_eq!(moving.in_state(TaskState::S, ahead), Some(TimeInState { ns: 0, sure: false }));
    }
}
