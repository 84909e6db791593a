//! What the reader reports.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use vmward_kernel_facts::Frame;

use crate::marks::{BootMark, ShutdownMark};
use crate::prompt::PromptKind;
use crate::shell::ShellAnswer;
use crate::sysrq::SysrqAnswer;
use crate::trouble::{Severity, TroubleKind};

/// Something that the console said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The bytes of the stream that say it.
    pub range: Range<u64>,
    /// Kernel's stamp in microseconds since the guest's boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_us: Option<u64>,
    /// What it is.
    pub kind: EventKind,
}

/// What an event is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The kernel is in trouble.
    Trouble(Box<Trouble>),
    /// A step of the boot.
    Boot(BootMark),
    /// A step of a shutdown or restart.
    Shutdown(ShutdownMark),
    /// A line that was a prompt when it was waiting.
    Prompt(PromptKind),
    /// A log label that the caller asked for.
    Label {
        /// Name of the caller's rule.
        rule: String,
        /// The line, without its prefix.
        text: String,
        /// The last number in the line.
        counter: Option<u64>,
    },
    /// What a shell says when it can not do what it was asked.
    Shell(ShellAnswer),
    /// The first line of an answer to a SysRq key.
    Sysrq(SysrqAnswer),
}

/// Trouble that the kernel reported, in one piece however many lines it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// How bad.
    pub severity: Severity,
    /// The first line with numbers and addresses replaced: equal for equal trouble.
    pub title: String,
    /// What the kernel gives as the reason; the first line as it is. Guest text.
    pub reason: String,
    /// Where the trouble starts that this is a consequence of: a panic after an oops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
    /// The CPU that reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The task that it happened in, or to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of that task. Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Taint letters, where printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<String>,
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Where the CPU was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pc: Option<Frame>,
    /// Registers, the first of each name.
    #[serde(default)]
    pub registers: BTreeMap<String, u64>,
    /// The first call trace, innermost frame first, unreliable frames kept and marked.
    #[serde(default)]
    pub trace: Vec<Frame>,
    /// The lines of the report without their prefixes. Guest text.
    pub lines: Vec<String>,
    /// Lines that did not fit.
    #[serde(default)]
    pub lines_dropped: u64,
    /// Further reports of the same kind that came inside of this one (stalls seen by several CPUs).
    #[serde(default)]
    pub repeats: u32,
}
