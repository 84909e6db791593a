//! Whether a stop is ours to undo. A pure function over what was seen.

use qapi::qmp::RunState;

/// What the guardian did that stops a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `dump-guest-memory`: QEMU stops (`save-vm`) and resumes by itself.
    Dump,
    /// A gdb session: QEMU stops (`paused`) when the client connects.
    Gdb,
}

/// An event since we armed, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// `STOP`.
    Stop,
    /// `RESUME`.
    Resume,
    /// Something that wants the guest stopped or ended: panic, watchdog, shutdown, reset into pause,
    /// migration, I/O error.
    Other,
}

impl Seen {
    /// Sorts an event by its name; `None` for those that do not matter.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "STOP" => Some(Self::Stop),
            "RESUME" => Some(Self::Resume),
            "GUEST_PANICKED" | "GUEST_CRASHLOADED" | "WATCHDOG" | "SHUTDOWN" | "MIGRATION"
            | "BLOCK_IO_ERROR" | "SUSPEND" => Some(Self::Other),
            _ => None,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It runs.
    Running,
    /// Send `cont`.
    Continue,
    /// Somebody else wants it stopped.
    LeaveAlone(&'static str),
}

/// Decides. `before` is the state when we armed, `seen` the events since, `complete` whether none of
/// them can be missing, `now` the state after our operation was ended (gdb server closed, dump
/// returned).
#[must_use]
pub fn decide(
    operation: Operation,
    before: RunState,
    seen: &[Seen],
    complete: bool,
    migrating: bool,
    now: RunState,
) -> Decision {
    if now == RunState::running {
        return Decision::Running;
    }
    if before != RunState::running {
        return Decision::LeaveAlone("it did not run before");
    }
    let ours = match operation {
        Operation::Dump => matches!(now, RunState::save_vm | RunState::paused),
        Operation::Gdb => matches!(now, RunState::paused | RunState::debug),
    };
    if !ours {
        return Decision::LeaveAlone("it is stopped for a reason that our operation does not make");
    }
    if migrating {
        return Decision::LeaveAlone("it migrates");
    }
    if seen.contains(&Seen::Other) {
        return Decision::LeaveAlone("another event wants it stopped");
    }
    // The first stop is ours. One after a resume is another's.
    let stops = seen.iter().filter(|s| **s == Seen::Stop).count();
    if complete && stops > 1 {
        return Decision::LeaveAlone("somebody stopped it again after it had resumed");
    }
    Decision::Continue
}

#[cfg(test)]
mod tests {
    use super::*;
    use RunState as R;
    use Seen::{Other, Resume, Stop};

    fn gdb(before: R, seen: &[Seen], now: R) -> Decision {
        decide(Operation::Gdb, before, seen, true, false, now)
    }

    #[test]
    fn our_stop_of_a_running_guest_is_undone() {
        assert_eq!(gdb(R::running, &[Stop], R::paused), Decision::Continue);
        let dump = decide(Operation::Dump, R::running, &[Stop], true, false, R::save_vm);
        assert_eq!(dump, Decision::Continue);
        // With a monitor that was lost and found again the events are not all there.
        let lost = decide(Operation::Gdb, R::running, &[], false, false, R::paused);
        assert_eq!(lost, Decision::Continue);
    }

    #[test]
    fn a_guest_that_runs_is_left_alone() {
        assert_eq!(gdb(R::running, &[Stop, Resume], R::running), Decision::Running);
    }

    #[test]
    fn a_stop_that_is_not_ours_stays() {
        for (before, seen, now) in [
            (R::paused, &[][..], R::paused),
            (R::running, &[Stop, Resume, Stop], R::paused),
            (R::running, &[Stop, Other], R::paused),
            (R::running, &[Stop], R::guest_panicked),
            (R::running, &[Stop], R::io_error),
            (R::running, &[Stop], R::shutdown),
            (R::running, &[Stop], R::postmigrate),
            (R::running, &[Stop], R::save_vm),
        ] {
            let got = gdb(before, seen, now);
            assert!(matches!(got, Decision::LeaveAlone(_)), "{now:?}: {got:?}");
        }
        let migrating = decide(Operation::Gdb, R::running, &[Stop], true, true, R::paused);
        assert!(matches!(migrating, Decision::LeaveAlone(_)));
    }
}
