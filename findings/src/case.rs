//! Everything that the engine judges from, in one document.
//!
//! A report holds it as artifact kind `case`, so that the engine can be run again on a bundle, on
//! the controller or with a newer rule set, and says the same for the same rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_kernel_facts::{
    Border, CpuStack, ExaminationCost, KernelIdentity, Machine, MemSummary, Task, WaitGraph,
};
use vmward_model::observed::Observed;
use vmward_model::{CaptureRecord, Event, GuestId, GuestState, Incarnation, ProbeAnswer, Verdict};

/// Artifact kind under which a report holds its case.
pub const CASE_KIND: &str = "case";

/// What stands for the scenario in the opening verdict of a case that somebody asked for: nothing
/// has failed before it.
pub const ON_DEMAND: &str = "on-demand";

/// One guest in trouble, as far as probes and captures saw it.
///
/// What is absent was not seen. No rule takes absence for a sign, for or against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// Version of this form ([`vmward_model::FORMAT`]).
    pub format: u32,
    /// Whose case it is.
    pub guest: GuestId,
    /// Which life of the guest.
    pub incarnation: Incarnation,
    /// The guest's state when the diagnosis began.
    pub guest_state: GuestState,
    /// The verdict that opened the incident, from probes alone.
    pub opening: Verdict,
    /// Answers of the guest's probes in the last minutes, oldest first.
    #[serde(default)]
    pub probes: Vec<ProbeAnswer>,
    /// Events of this guest in the last minutes, oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What captures saw from outside.
    #[serde(default)]
    pub observed: Observed,
    /// What the guest's kernel told, or was read of it.
    #[serde(default)]
    pub kernel: KernelSeen,
    /// Every capture of the diagnosis and what became of it.
    #[serde(default)]
    pub captures: Vec<CaptureRecord>,
}

impl Case {
    /// A case of which nothing but the opening verdict is known.
    pub fn new(guest: GuestId, incarnation: Incarnation, guest_state: GuestState, opening: Verdict) -> Case {
        Case {
            format: vmward_model::FORMAT,
            guest,
            incarnation,
            guest_state,
            opening,
            probes: Vec::new(),
            events: Vec::new(),
            observed: Observed::default(),
            kernel: KernelSeen::default(),
            captures: Vec::new(),
        }
    }

    /// Whether somebody asked for it and no scenario failed.
    pub fn is_on_demand(&self) -> bool {
        self.opening.scenario == ON_DEMAND
    }
}

/// Facts of the guest's kernel, from SysRq text or from memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelSeen {
    /// Tasks in uninterruptible sleep (SysRq `w`). An empty list is an answer: nothing is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Vec<Task>>,
    /// All tasks (SysRq `t`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
    /// What the CPUs were doing (SysRq `l`, else `p`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<CpuStack>>,
    /// Memory (SysRq `m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemSummary>,
    /// What only the guest's memory tells; with it `blocked`, `tasks` and `cpus` come from memory too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Look>,
    /// Requests of the guest's virtio devices seen from both sides, and who owes whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border: Option<Border>,
    /// How SysRq itself went; absent when no key was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysrq: Option<SysrqSeen>,
}

/// One look at the guest's memory, without its tasks and CPUs (they are in [`KernelSeen`]) and its log (an
/// artifact of its own).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Look {
    /// Which kernel it is and how it was found.
    pub kernel: KernelIdentity,
    /// Who waits for whom.
    #[serde(default)]
    pub waits: WaitGraph,
    /// The state of the machine.
    #[serde(default)]
    pub machine: Box<Machine>,
    /// What could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What it took.
    #[serde(default)]
    pub cost: ExaminationCost,
}

/// What became of each SysRq key that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SysrqSeen {
    /// Keys whose answer came back.
    #[serde(default)]
    pub answered: Vec<char>,
    /// Keys that the kernel refused by its mask (`kernel.sysrq`). A refusal is a sign of life.
    #[serde(default)]
    pub refused: Vec<char>,
    /// Keys that nothing came back for in time.
    #[serde(default)]
    pub silent: Vec<char>,
    /// The way the keys went (`mux-break`, `chardev-break`, `hvc`, `send-key`).
    #[serde(default)]
    pub path: String,
}

impl SysrqSeen {
    /// Whether the kernel said anything at all to a key: interrupts and printk work on one CPU.
    pub fn shows_life(&self) -> bool {
        !self.answered.is_empty() || !self.refused.is_empty()
    }
}
