//! Everything that a chart is made of, borrowed from whoever read it.

use vmward_kernel_facts::{CpuStack, MemSummary, Task};
use vmward_model::observed::Observed;
use vmward_model::{Event, Manifest, ProbeAnswer};

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
