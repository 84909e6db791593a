//! Everything that a chart is made of, borrowed from whoever read it.

use std::collections::BTreeSet;

use vmward_kernel_facts::{
    Border, CpuStack, ExaminationCost, KernelIdentity, Machine, MemSummary, Task, WaitGraph,
};
use vmward_model::observed::Observed;
use vmward_model::{Class, Digest, Event, Manifest, ProbeAnswer};

/// The facts of one incident. What is absent was not captured, and the chart says so.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// The report's manifest, with the incident.
    pub manifest: &'a Manifest,
    /// The words about each finding of the incident, in the same order.
    pub words: Vec<Words>,
    /// Rules that could not tell: name and why.
    pub undecided: Vec<(String, String)>,
    /// Answers of probes before the incident.
    pub probes: &'a [ProbeAnswer],
    /// Events before and during it.
    pub events: &'a [Event],
    /// What was seen from outside.
    pub observed: &'a Observed,
    /// Blocked tasks.
    pub blocked: Option<&'a [Task]>,
    /// All tasks.
    pub tasks: Option<&'a [Task]>,
    /// CPUs.
    pub cpus: Option<&'a [CpuStack]>,
    /// Memory.
    pub memory: Option<&'a MemSummary>,
    /// SysRq.
    pub sysrq: Option<Sysrq>,
    /// What only memory tells.
    pub lens: Option<Lens<'a>>,
    /// Requests of virtio devices, seen from both sides.
    pub border: Option<&'a Border>,
    /// The end of the kernel's log, where whoever shows the chart has it at hand.
    pub kernel_log: Option<String>,
}

/// What a look at the guest's memory told beside tasks and CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Lens<'a> {
    /// Which kernel it is.
    pub kernel: &'a KernelIdentity,
    /// Who waits for whom.
    pub waits: &'a WaitGraph,
    /// The machine's state.
    pub machine: &'a Machine,
    /// What could not be read.
    pub problems: &'a [String],
    /// What it took.
    pub cost: ExaminationCost,
}

/// Where a chart is shown. The default is beside its bundle.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Where the raw artifacts are.
    pub raw: Raw,
    /// What another engine than the host's made of the same case.
    pub again: Option<Again>,
}

/// Where the raw artifacts are.
#[derive(Clone, Debug, Default)]
pub enum Raw {
    /// In the bundle, by their digests.
    #[default]
    InBundle,
    /// On the controller that shows the page, at `/api/v1/artifacts/{sha256}`.
    OnController {
        /// Those that the host's configuration does not let go.
        withheld: BTreeSet<Digest>,
    },
}

/// What another engine than the host's made of the same case.
#[derive(Clone, Debug)]
pub struct Again {
    /// Its class.
    pub class: Class,
    /// Its sentence.
    pub sentence: String,
}

/// The words about a finding; may hold guest text.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// For the owner of the guest.
    pub sentence: String,
    /// For a developer.
    pub detail: String,
    /// Usual causes.
    pub causes: Vec<String>,
    /// What to do.
    pub next_steps: Vec<String>,
    /// Where to read on.
    pub links: Vec<String>,
}

/// What became of SysRq keys.
#[derive(Clone, Debug, Default)]
pub struct Sysrq {
    /// Answered keys.
    pub answered: Vec<char>,
    /// Keys that the kernel's mask refused.
    pub refused: Vec<char>,
    /// Keys without an answer.
    pub silent: Vec<char>,
    /// The way they went.
    pub path: String,
}
