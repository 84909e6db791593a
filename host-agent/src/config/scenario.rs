//! A scenario: one question that is asked of a guest again and again, and what to do when it fails.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FailRule, Pattern};
use super::units::HumanDuration;
use crate::verdict::Rule;

/// One `scenarios/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Its name; guests are bound to it by this.
    pub name: String,
    /// What it watches, in one sentence.
    pub summary: String,
    /// How often it is asked.
    pub every: HumanDuration,
    /// How long an answer may take; at most `every`.
    pub timeout: HumanDuration,
    /// How many of the last rounds must fail: `"2 of 3"`.
    #[serde(default = "at_once")]
    pub fail: FailRule,
    /// How many rounds in a row must pass for the guest to be well again.
    #[serde(default = "one")]
    pub recover: u32,
    /// The diagnosis that a failure runs.
    #[serde(default = "default_diagnosis")]
    pub diagnosis: String,
    /// The question.
    pub probe: ProbeSpec,
}

fn at_once() -> FailRule {
    FailRule::AT_ONCE
}

fn one() -> u32 {
    1
}

fn default_diagnosis() -> String {
    "default".to_owned()
}

impl Scenario {
    /// The rule for its verdict. A rule that was not checked yet is taken as "at once".
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule::new(self.fail.fails, self.fail.of, self.recover).unwrap_or(Rule::AT_ONCE)
    }
}

/// The question of a scenario: exactly one table `[probe.KIND]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeSpec {
    /// Types a command at a shell on the console and reads what it answers.
    ConsoleCommand(ConsoleCommand),
    /// Waits for a label that the guest's application prints on the console.
    ConsoleLabel(ConsoleLabel),
    /// Looks for what a kernel prints, or QEMU tells, when it is in trouble.
    KernelTrouble(KernelTrouble),
    /// Asks QEMU for its run state.
    QmpStatus(QmpStatus),
}

impl ProbeSpec {
    /// The kind, as in files and reports.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConsoleCommand(_) => "console-command",
            Self::ConsoleLabel(_) => "console-label",
            Self::KernelTrouble(_) => "kernel-trouble",
            Self::QmpStatus(_) => "qmp-status",
        }
    }
}

/// `[probe.console-command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConsoleCommand {
    /// What is typed: one line of printable ASCII.
    pub command: String,
    /// What the answer must contain.
    pub expect: Pattern,
    /// The prompt that must be seen before anything is typed. A guest's own `prompt` in
    /// `vmward.toml` takes its place.
    pub prompt: Pattern,
    /// Whether one carriage return may be sent to a silent console to raise the prompt.
    #[serde(default)]
    pub wake: Wake,
}

/// Whether a silent console may be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wake {
    /// Nothing is sent before a prompt was seen.
    #[default]
    Never,
    /// One carriage return.
    Cr,
}

/// `[probe.console-label]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConsoleLabel {
    /// What a label looks like.
    pub pattern: Pattern,
    /// The longest time between two labels.
    pub max_gap: HumanDuration,
}

/// `[probe.kernel-trouble]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelTrouble {
    /// Kinds of console trouble that fail the scenario (names of `vmward-console-log`: `panic`, `oops`, ...).
    pub console: Vec<String>,
    /// QMP events that fail the scenario: of `GUEST_PANICKED`, `GUEST_CRASHLOADED` and `SHUTDOWN`, the
    /// last only where QEMU gives a panic as the reason.
    pub qmp: Vec<String>,
}

/// `[probe.qmp-status]`: no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QmpStatus {}
