//! One question asked over a transport, and its answer in three values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Stamp;
use crate::transport::TransportKind;

/// The answer to a probe. "Cannot tell" is a result of its own and never counts as a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum Answer {
    /// The guest did what was asked.
    Pass,
    /// The guest was reached and did not; the text says what was seen instead.
    Fail(String),
    /// The question could not be put (busy transport, paused guest, person on the console).
    Unknown(String),
}

/// One probe of one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeAnswer {
    /// Scenario that asked.
    pub scenario: String,
    /// Probe within it, for instance `console-command`.
    pub probe: String,
    /// The way it went.
    pub transport: TransportKind,
    /// When it was asked.
    pub at: Stamp,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}
