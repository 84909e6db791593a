//! The record of one capture in a diagnosis, whether it gave anything or not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Rung;
use crate::time::Stamp;

/// What became of a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CaptureOutcome {
    /// It gave what it is for.
    Done,
    /// It gave some of it.
    Partial {
        /// What is missing and why.
        why: String,
    },
    /// It was tried and gave nothing.
    Failed {
        /// What went wrong.
        why: String,
    },
    /// The guest or QEMU answered and refused (a SysRq mask, a missing device).
    Refused {
        /// In whose words.
        why: String,
    },
    /// It was not tried: policy, a rung that may not be climbed, or not needed.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// One capture of one diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRecord {
    /// Name of the capture.
    pub capture: String,
    /// The rung it needs.
    pub rung: Rung,
    /// When it was begun.
    pub at: Stamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long the guest was paused, in microseconds.
    #[serde(default)]
    pub paused_us: u64,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: CaptureOutcome,
}
