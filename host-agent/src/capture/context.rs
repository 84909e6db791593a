//! What a diagnosis is given: one guest and the ways to reach it, each behind a small trait, so that
//! captures can be tried on fakes and know nothing of sockets.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use vmward_model::observed::{ConsoleSeen, MonitorHealth, VcpuRegisters};
use vmward_model::{GuestState, Incarnation};

use super::{Memory, Miss, Step};
use crate::node::Process;

/// One guest under examination.
pub struct Context {
    /// Which life of the guest.
    pub incarnation: Incarnation,
    /// What the agent takes its state for.
    pub guest_state: GuestState,
    /// The QEMU process.
    pub process: Process,
    /// The monitor, where one is known.
    pub monitor: Option<Arc<dyn Monitor>>,
    /// The console, where one is known.
    pub console: Option<Arc<dyn Console>>,
    /// SysRq, where the console or the monitor give a way for it.
    pub sysrq: Option<Arc<dyn SysRq>>,
    /// Operations that pause the guest; absent unless its policy allows rung L2.
    pub pauser: Option<Arc<dyn Pauser>>,
    /// Its memory, where a process of it is known.
    pub memory: Option<Arc<dyn Memory>>,
    /// Index and host thread of each vCPU. Filled by `run-state`, or by the agent beforehand, when it
    /// learnt them while the guest was well.
    pub vcpu_threads: OnceLock<Vec<(u32, u32)>>,
    /// When the virtqueues were first looked at. Filled by the captures that look.
    pub queues_since: OnceLock<Instant>,
    /// When memory was read: not before, and not after. Filled by the capture that reads it.
    pub memory_read: OnceLock<(Instant, Instant)>,
}

impl Context {
    /// The monitor, or why a capture cannot have one.
    ///
    /// # Errors
    /// [`Miss::Skipped`].
    pub fn monitor(&self) -> Result<&dyn Monitor, Miss> {
        self.monitor.as_deref().ok_or_else(|| Miss::Skipped("no monitor of this guest is known".to_owned()))
    }

    /// Host threads of the vCPUs, as far as they are known.
    pub fn vcpu_tids(&self) -> Vec<u32> {
        self.vcpu_threads.get().into_iter().flatten().map(|(_, tid)| *tid).collect()
    }
}

/// A question to QEMU on rung L1: the part of the allow-list that captures use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `query-status`
    Status,
    /// `query-cpus-fast`
    Cpus,
    /// `query-version`
    Version,
    /// `query-target`
    Target,
    /// `query-name`
    Name,
    /// `query-uuid`
    Uuid,
    /// `query-migrate`
    Migration,
    /// `query-jobs`
    Jobs,
    /// `query-blockstats`
    BlockStats,
    /// `x-query-virtio`
    Virtio,
    /// `x-query-virtio-status`
    VirtioStatus {
        /// QOM path.
        path: String,
    },
    /// `x-query-virtio-queue-status`
    VirtioQueue {
        /// QOM path.
        path: String,
        /// Queue number.
        queue: u16,
    },
    /// `info registers -a` of the human monitor; the answer is a JSON string.
    Registers,
    /// `info mtree -f` of the human monitor; the answer is a JSON string.
    MemoryTree,
    /// `gpa2hva ADDRESS` of the human monitor; the answer is a JSON string.
    HostAddress(u64),
}

/// Why the monitor could not be asked at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// What kind of trouble it is.
    pub health: MonitorHealth,
    /// In a sentence.
    pub why: String,
}

/// Why one question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskFailure {
    /// QEMU refused it, in its own words.
    Refused(String),
    /// Nothing came in time, or nonsense came, or the connection ended.
    NoAnswer(Unreachable),
    /// Not asked, because an earlier question of the same session had no answer.
    NotAsked,
}

impl std::fmt::Display for AskFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskFailure::Refused(why) => f.write_str(why),
            AskFailure::NoAnswer(unreachable) => f.write_str(&unreachable.why),
            AskFailure::NotAsked => f.write_str("not asked, since an earlier question had no answer"),
        }
    }
}

/// Answers to the questions of one session, in their order.
pub type Answers = Vec<Result<Value, AskFailure>>;

/// QEMU's monitor.
pub trait Monitor: Send + Sync {
    /// Asks in one session, each question with its own deadline. After a question without an answer the
    /// rest is not asked.
    fn ask(&self, questions: Vec<Question>, within: Duration) -> Step<'_, Result<Answers, Unreachable>>;

    /// The events that the agent keeps of this monitor, as JSON.
    fn history(&self) -> Value;

    /// The text of the last exchanges.
    fn wire_log(&self) -> String;
}

/// What the agent holds of the console.
pub trait Console: Send + Sync {
    /// What was seen on it.
    fn seen(&self) -> Step<'_, ConsoleSeen>;

    /// The last raw bytes, at most `cap`.
    fn tail(&self, cap: usize) -> Step<'_, Result<Vec<u8>, String>>;
}

/// What a SysRq key brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// The kernel printed the answer.
    Answered {
        /// The way the key went (`mux-break`, `chardev-break`, `hvc`, `send-key`).
        path: String,
        /// What it printed, raw.
        text: Vec<u8>,
        /// What speaks against its being whole (it did not end in time, it was cut), if anything.
        incomplete: Option<String>,
    },
    /// The kernel answered that its mask forbids the key.
    Refused {
        /// The way the key went.
        path: String,
        /// What it printed, raw.
        text: Vec<u8>,
    },
    /// Nothing came back on any way.
    Silent {
        /// The ways that were tried.
        path: String,
    },
    /// The key could not be sent.
    NoWay {
        /// Why not.
        why: String,
    },
}

/// SysRq by whatever way works.
pub trait SysRq: Send + Sync {
    /// Sends one key and waits at most `within` for what it brings.
    fn press(&self, key: char, within: Duration) -> Step<'_, Pressed>;
}

/// What a pause of the guest gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paused {
    /// Registers of each vCPU.
    pub cpus: Vec<VcpuRegisters>,
    /// The raw answer (an ELF core, or packets), empty when there is none.
    pub raw: Vec<u8>,
    /// How long the guest was paused, in microseconds.
    pub paused_us: u64,
    /// What is missing, if anything.
    pub missing: Option<String>,
}

/// Why a pause gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseError {
    /// Nothing was stopped: something is in flight or cannot be read, or the guest does not run.
    Refused(String),
    /// It went wrong on the way.
    Failed(String),
}

/// Operations of rung L2. Whoever implements it answers for the look at what is in flight right before
/// the stop, for the guardian and for the pause budget.
pub trait Pauser: Send + Sync {
    /// Registers by a dump of one page.
    fn by_dump(&self) -> Step<'_, Result<Paused, PauseError>>;

    /// Registers by QEMU's gdb stub.
    fn by_gdb(&self) -> Step<'_, Result<Paused, PauseError>>;
}
