//! The state of a guest as the host knows it, and the one function that moves it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Transition;

/// What a guest is doing, as far as the host can tell without asking the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuestState {
    /// Found, but nothing was learnt of its run state so far.
    Unknown,
    /// vCPUs run (QMP run state `running`).
    Running,
    /// Somebody paused it (`paused`, `debug`, `suspended`, `prelaunch`, `watchdog` with action pause).
    Paused,
    /// It is being migrated, either side (`inmigrate`, `postmigrate`, `finish-migrate`, or a
    /// migration is active while it runs).
    Migrating,
    /// Its state is being saved or restored (`save-vm`, `restore-vm`).
    Saving,
    /// It was reset and has not answered since.
    Rebooting,
    /// It shut down in an orderly way (`shutdown`); QEMU may still be there.
    ShutDown,
    /// The guest told QEMU that it panicked (`guest-panicked`).
    Panicked,
    /// QEMU stopped it because of an error of its own (`io-error`, `internal-error`).
    HostError,
    /// The QEMU process is there and does not answer.
    Silent,
    /// The QEMU process is gone.
    Gone,
}

impl GuestState {
    /// Every state, for tables and diagrams.
    pub const ALL: [GuestState; 11] = [
        GuestState::Unknown,
        GuestState::Running,
        GuestState::Paused,
        GuestState::Migrating,
        GuestState::Saving,
        GuestState::Rebooting,
        GuestState::ShutDown,
        GuestState::Panicked,
        GuestState::HostError,
        GuestState::Silent,
        GuestState::Gone,
    ];

    /// Whether silence of the guest is expected in this state, so that no probe that fails may be
    /// held against it.
    pub fn excuses_silence(self) -> bool {
        matches!(
            self,
            GuestState::Paused
                | GuestState::Migrating
                | GuestState::Saving
                | GuestState::Rebooting
                | GuestState::ShutDown
        )
    }

    /// The state after `input`. [`GuestState::Gone`] is final: a new process is a new incarnation
    /// with a state of its own.
    pub fn next(self, input: GuestInput) -> Transition<GuestState> {
        let to = match (self, input) {
            (GuestState::Gone, GuestInput::ProcessGone) => return Transition::Stay,
            (GuestState::Gone, _) => return Transition::Illegal,
            (_, GuestInput::ProcessGone) => GuestState::Gone,
            (_, GuestInput::NoAnswer) => GuestState::Silent,
            // A guest that reboots runs all the while: only life from within ends the state.
            (GuestState::Rebooting, GuestInput::Runs) => return Transition::Stay,
            (GuestState::Rebooting, GuestInput::ShowsLife) => GuestState::Running,
            (_, GuestInput::Runs) => GuestState::Running,
            (_, GuestInput::ShowsLife) => return Transition::Stay,
            (_, GuestInput::Paused) => GuestState::Paused,
            (_, GuestInput::Migrates) => GuestState::Migrating,
            (_, GuestInput::Saves) => GuestState::Saving,
            (_, GuestInput::Reset) => GuestState::Rebooting,
            (_, GuestInput::ShutDown) => GuestState::ShutDown,
            (_, GuestInput::Panicked) => GuestState::Panicked,
            (_, GuestInput::HostError) => GuestState::HostError,
        };
        if to == self { Transition::Stay } else { Transition::Go(to) }
    }
}

/// What was learnt of a guest, from QMP's `query-status`, an event, or the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuestInput {
    /// QEMU says that vCPUs run.
    Runs,
    /// The guest itself did something that only a booted guest does (a label, a prompt, an answer).
    ShowsLife,
    /// QEMU says that somebody paused it.
    Paused,
    /// A migration is active.
    Migrates,
    /// A snapshot is being saved or restored.
    Saves,
    /// QMP event RESET, or the console showed a restart.
    Reset,
    /// QMP event SHUTDOWN or run state `shutdown`.
    ShutDown,
    /// QMP event GUEST_PANICKED or run state `guest-panicked`.
    Panicked,
    /// Run state `io-error` or `internal-error`.
    HostError,
    /// QEMU did not answer in time although nobody else holds its monitor.
    NoAnswer,
    /// The process has ended.
    ProcessGone,
}

impl GuestInput {
    /// Every input, for tables and diagrams.
    pub const ALL: [GuestInput; 11] = [
        GuestInput::Runs,
        GuestInput::ShowsLife,
        GuestInput::Paused,
        GuestInput::Migrates,
        GuestInput::Saves,
        GuestInput::Reset,
        GuestInput::ShutDown,
        GuestInput::Panicked,
        GuestInput::HostError,
        GuestInput::NoAnswer,
        GuestInput::ProcessGone,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_brings_a_process_back_that_is_gone() {
        for input in GuestInput::ALL {
            assert_eq!(GuestState::Gone.next(input).or(GuestState::Gone), GuestState::Gone);
        }
    }

    #[test]
    fn a_rebooting_guest_is_excused_until_it_shows_life() {
        let booting = GuestState::Running.next(GuestInput::Reset).or(GuestState::Running);
        assert!(booting.excuses_silence());
        let still = booting.next(GuestInput::Runs).or(booting);
        assert_eq!(still, GuestState::Rebooting);
        assert_eq!(still.next(GuestInput::ShowsLife), Transition::Go(GuestState::Running));
    }

    #[test]
    fn a_silent_qemu_is_never_an_excuse() {
        assert!(!GuestState::Silent.excuses_silence());
        assert!(!GuestState::Running.excuses_silence());
    }
}
