//! What a diagnosis gives: records, what was seen, and raw artifacts.

use std::collections::BTreeMap;

use serde_json::Value;
use vmward_findings::{KernelSeen, SysrqSeen};
use vmward_model::observed::{
    BlockSample, ConsoleSeen, HostSide, HostTap, HostThread, Observed, QueueSample, RunState, Vcpus,
};
use vmward_model::{CaptureRecord, Provenance, Rung, Sensitivity, Stamp};

/// The result of a diagnosis.
#[derive(Debug)]
pub struct Examined {
    /// When it began.
    pub began: Stamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The highest rung on which something was tried.
    pub highest: Option<Rung>,
    /// Every capture of the plan and what became of it, in the order in which they ended.
    pub records: Vec<CaptureRecord>,
    /// What was seen from outside.
    pub observed: Observed,
    /// What the guest's kernel told.
    pub kernel: KernelSeen,
    /// Raw artifacts.
    pub artifacts: Vec<RawArtifact>,
}

/// One artifact, before it is named by its content.
#[derive(Clone, Debug, PartialEq)]
pub struct RawArtifact {
    /// What it is (`raw`, `console`, `events`, `wire-log`).
    pub kind: &'static str,
    /// Media type.
    pub media_type: &'static str,
    /// Who may see it.
    pub sensitivity: Sensitivity,
    /// The content.
    pub bytes: Vec<u8>,
    /// Whether the capture's cap cut it.
    pub truncated: bool,
    /// How it was got.
    pub provenance: Provenance,
}

/// Raw bytes of a capture, before the runner knows how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    /// What it is.
    pub kind: &'static str,
    /// Media type.
    pub media_type: &'static str,
    /// Who may see it.
    pub sensitivity: Sensitivity,
    /// The content.
    pub bytes: Vec<u8>,
    /// Whether the capture itself cut it.
    pub truncated: bool,
}

impl Raw {
    /// A JSON document under kind `raw`.
    pub fn json(value: &Value, sensitivity: Sensitivity) -> Raw {
        let bytes = value.to_string().into_bytes();
        Raw { kind: "raw", media_type: "application/json", sensitivity, bytes, truncated: false }
    }

    /// Text under kind `raw`.
    pub fn text(text: impl Into<Vec<u8>>, sensitivity: Sensitivity) -> Raw {
        Raw { kind: "raw", media_type: "text/plain", sensitivity, bytes: text.into(), truncated: false }
    }
}

/// What a capture took.
#[derive(Debug, Default)]
pub struct Taken {
    /// What it saw.
    pub parts: Vec<Part>,
    /// Raw bytes.
    pub raw: Vec<Raw>,
    /// What is missing and why, if anything.
    pub missing: Vec<String>,
    /// How long the guest was paused, in microseconds.
    pub paused_us: u64,
}

/// Why a capture took nothing.
#[derive(Debug)]
pub enum Miss {
    /// It was tried and failed.
    Failed(String),
    /// The guest or QEMU answered and refused.
    Refused(String),
    /// It makes no sense here.
    Skipped(String),
    /// As `Failed`, `Refused` or `Skipped`, with what is known all the same.
    With(Box<Miss>, Box<Taken>),
}

impl Miss {
    /// This miss, with what is known all the same.
    pub fn with(self, taken: Taken) -> Miss {
        Miss::With(Box::new(self), Box::new(taken))
    }
}

/// One part of what is known.
#[derive(Debug)]
pub enum Part {
    /// QEMU's word on the guest.
    RunState(RunState),
    /// Registers.
    Vcpus(Vcpus),
    /// Virtqueues.
    Queues(Vec<QueueSample>),
    /// Virtqueues, once more when all else is through.
    QueuesLater(QueueSample),
    /// Block counters.
    Blocks(Vec<BlockSample>),
    /// Threads of QEMU, over a window in milliseconds, and its resident size in KiB.
    Threads(Vec<HostThread>, u64, Option<u64>),
    /// The QEMU process is gone.
    ProcessGone,
    /// cgroup path and pressure.
    Cgroup(Option<String>, BTreeMap<String, f64>),
    /// Disks.
    Disks(Vec<String>),
    /// Network interfaces.
    Taps(Vec<HostTap>),
    /// The console.
    Console(ConsoleSeen),
    /// What SysRq said of the kernel.
    Kernel(Box<KernelSeen>),
    /// What became of one SysRq key, and the way it went.
    SysRq(char, KeyFate, String),
}

/// What became of one SysRq key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFate {
    /// Answered.
    Answered,
    /// Refused by the mask.
    Refused,
    /// Nothing came back.
    Silent,
}

impl Examined {
    pub(super) fn new(began: Stamp) -> Examined {
        Examined {
            began,
            took_ms: 0,
            highest: None,
            records: Vec::new(),
            observed: Observed::default(),
            kernel: KernelSeen::default(),
            artifacts: Vec::new(),
        }
    }

    pub(super) fn absorb(&mut self, part: Part) {
        match part {
            Part::RunState(it) => self.observed.run_state = Some(it),
            Part::Vcpus(it) => self.take_vcpus(it),
            Part::Queues(it) => self.observed.queues = Some(it),
            Part::QueuesLater(it) => self.observed.queues.get_or_insert_default().push(it),
            Part::Blocks(it) => self.observed.blocks = Some(it),
            Part::Console(it) => self.observed.console = Some(it),
            Part::Threads(threads, window_ms, rss_kib) => {
                let host = self.host();
                host.process_alive = true;
                host.threads = threads;
                host.window_ms = window_ms;
                host.rss_kib = rss_kib;
            }
            Part::ProcessGone => self.host().process_alive = false,
            Part::Cgroup(path, pressure) => {
                let host = self.host();
                host.cgroup = path;
                host.pressure = pressure;
            }
            Part::Disks(it) => self.host().disks = it,
            Part::Taps(it) => self.host().taps = it,
            Part::Kernel(it) => self.take_kernel(*it),
            Part::SysRq(key, fate, path) => {
                let sysrq = self.kernel.sysrq.get_or_insert_with(SysrqSeen::default);
                let list = match fate {
                    KeyFate::Answered => &mut sysrq.answered,
                    KeyFate::Refused => &mut sysrq.refused,
                    KeyFate::Silent => &mut sysrq.silent,
                };
                list.push(key);
                if sysrq.path.is_empty() || fate != KeyFate::Silent {
                    sysrq.path = path;
                }
            }
        }
    }

    pub(super) fn problem(&mut self, what: String) {
        self.host().problems.push(what);
    }

    fn host(&mut self) -> &mut HostSide {
        self.observed.host.get_or_insert_with(HostSide::default)
    }

    /// Samples of a pause come after those that were taken while the guest ran.
    fn take_vcpus(&mut self, new: Vcpus) {
        self.observed.vcpus.get_or_insert_with(Vcpus::default).samples.extend(new.samples);
    }

    /// The first capture that tells something keeps its word; `l` comes before `p`.
    fn take_kernel(&mut self, new: KernelSeen) {
        let kernel = &mut self.kernel;
        kernel.blocked = kernel.blocked.take().or(new.blocked);
        kernel.tasks = kernel.tasks.take().or(new.tasks);
        kernel.cpus = kernel.cpus.take().or(new.cpus);
        kernel.memory = kernel.memory.take().or(new.memory);
        kernel.look = kernel.look.take().or(new.look);
    }
}
