//! Captures: one thing each, taken from a guest in trouble, on its rung of the safety ladder.
//!
//! A capture is one file and one line in [`registry`]. It says what it costs ([`Capture::rung`]), how long
//! it may take and how much it may keep; the [`runner`] climbs from rung to rung, runs what may run side
//! by side, and records what became of each. A capture that fails, hangs or panics loses nothing but
//! itself. Memory is read without making a page of it resident, so a diagnosis leaves its size as it was.

mod block_stats;
mod border;
mod console_tail;
mod context;
mod event_history;
mod examined;
mod gate;
mod guarded;
mod host_cgroup;
mod host_disks;
mod host_taps;
mod host_threads;
pub mod info_registers;
mod json;
mod keyboard;
mod l2;
mod memory;
mod monitor;
mod over_child;
mod plan;
mod registers;
mod run_state;
mod runner;
mod sysrq;
mod virtqueues;
mod virtqueues_later;
mod wire_log;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::time::Duration;

use vmward_model::{Rung, TransportKind};

pub use border::border;
pub use context::{
    AskFailure, Console, Context, Monitor, PauseError, Paused, Pauser, Pressed, Question, SysRq, Unreachable,
};
pub use examined::{Examined, Miss, Part, Raw, RawArtifact, Taken};
pub use guarded::UnderGuardian;
pub use keyboard::{ConsoleNow, OverConsole};
pub use memory::{Memory, Seen};
pub use monitor::OverQmp;
pub use over_child::{KnownLayout, OverChild};
pub use plan::{Plan, Wanted};
pub use runner::diagnose;

/// A step of a capture that waits.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What came of a capture.
pub type Outcome = Result<Taken, Miss>;

/// When a capture is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// When its rung is climbed.
    Usual,
    /// After L0 and L1, before the guest is touched: it makes up for one that came to nothing.
    Fallback,
    /// When all others are through, since it tells of them.
    Last,
}

/// One thing that can be taken from a guest in trouble.
pub trait Capture: Send + Sync + 'static {
    /// Its name in configuration, records and reports.
    fn name(&self) -> &'static str;

    /// The rung it needs.
    fn rung(&self) -> Rung;

    /// The way it goes.
    fn transport(&self) -> TransportKind;

    /// How long it may take.
    fn deadline(&self) -> Duration;

    /// Bytes of each artifact that are kept.
    fn cap(&self) -> usize;

    /// When it is taken.
    fn turn(&self) -> Turn {
        Turn::Usual
    }

    /// Whether it is worth taking after what was seen so far, else why not.
    ///
    /// # Errors
    /// The reason for the record.
    fn needed(&self, _cx: &Context, _so_far: &Examined) -> Result<(), String> {
        Ok(())
    }

    /// Takes it.
    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome>;
}

/// Every capture, in the order in which a rung runs those that go one after the other.
pub fn registry() -> Vec<Box<dyn Capture>> {
    vec![
        Box::new(host_threads::HostThreads),
        Box::new(host_cgroup::HostCgroup),
        Box::new(host_disks::HostDisks),
        Box::new(host_taps::HostTaps),
        Box::new(console_tail::ConsoleTail),
        Box::new(run_state::RunStateOf),
        Box::new(block_stats::BlockStats),
        Box::new(virtqueues::Virtqueues),
        Box::new(memory::KernelMemory),
        Box::new(memory::KernelMemoryAlone),
        Box::new(registers::Registers),
        Box::new(l2::RegistersDump),
        Box::new(l2::RegistersGdb),
        Box::new(sysrq::SysRqKey('w')),
        Box::new(sysrq::SysRqKey('l')),
        Box::new(sysrq::SysRqKey('m')),
        Box::new(sysrq::SysRqKey('p')),
        Box::new(sysrq::SysRqKey('q')),
        Box::new(sysrq::SysRqKey('t')),
        Box::new(sysrq::SysRqKey('z')),
        Box::new(sysrq::SysRqKey('h')),
        Box::new(virtqueues_later::VirtqueuesLater),
        Box::new(event_history::EventHistory),
        Box::new(wire_log::WireLog),
    ]
}
