//! One thing taken from a guest in trouble: what it is, how sensitive, and how it was got.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::time::Stamp;
use crate::transport::TransportKind;

/// How far a capture climbs the safety ladder. The order is the order of climbing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Rung {
    /// `/proc` and memory only; works with QMP dead.
    L0,
    /// Monitor commands that neither stop, drain nor touch an image file.
    L1,
    /// Stops the guest for a moment: opt-in for each guest.
    L2,
    /// Changes the guest: SysRq, NMI.
    L3,
}

/// What an artifact may tell a stranger. The order is the order of caution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Run states, counters, names of tasks and functions.
    Status,
    /// Text that the guest printed or that was typed.
    Text,
    /// Contents of guest memory or registers.
    Memory,
}

/// How an artifact was got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// Capture that took it.
    pub capture: String,
    /// The way it went.
    pub transport: TransportKind,
    /// The rung it needed.
    pub rung: Rung,
    /// When it was begun.
    pub at: Stamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How long the guest was paused for it, in microseconds; zero on every rung but L2.
    pub paused_us: u64,
}

/// One file of a report, named by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// What it is: `facts`, `raw`, `wire-log`, `console`, `case`, ... together with the capture it
    /// tells what is inside (`registers/raw`).
    pub kind: String,
    /// Media type.
    pub media_type: String,
    /// SHA-256 of the content; the file's name in the bundle.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// Who may see it.
    pub sensitivity: Sensitivity,
    /// How it was got.
    pub provenance: Provenance,
    /// Whether the capture's size cap cut it.
    #[serde(default)]
    pub truncated: bool,
}
