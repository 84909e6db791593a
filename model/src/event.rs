//! What happened, in order: the event stream of an agent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::GuestState;
use crate::id::{GuestId, Incarnation, IncidentId};
use crate::time::Stamp;

/// How much an event matters. The order is the order of dropping: the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// For those who look for a fault in vmward.
    Debug,
    /// Something happened as it should.
    Info,
    /// Something may need attention.
    Warn,
    /// A guest or a part of vmward does not work.
    Error,
    /// A guest is lost unless somebody acts.
    Crit,
}

/// One event. `seq` rises by one for each event of an agent and never repeats, so that a reader
/// sees what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of this form.
    pub format: u32,
    /// Number of this event since the agent was installed.
    pub seq: u64,
    /// When it was noticed.
    pub at: Stamp,
    /// How much it matters.
    pub severity: Severity,
    /// The guest it is about; absent for the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestId>,
    /// The guest's name at that time, for readers. `name` alone is QEMU's name of an event.
    #[serde(default, rename = "guest_name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which life of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The agent started.
    AgentStarted {
        /// Its version.
        version: String,
    },
    /// The agent stopped in an orderly way.
    AgentStopped,
    /// A guest was seen for the first time in this incarnation.
    GuestFound {
        /// How it was found: `config`, `proc`, `eve`.
        by: String,
    },
    /// A guest's QEMU ended.
    GuestGone,
    /// A guest's state changed.
    StateChanged {
        /// Before.
        from: GuestState,
        /// After.
        to: GuestState,
        /// Why, in a few words (`query-status: paused`, `event RESET`).
        why: String,
    },
    /// QEMU told of something itself.
    Qemu {
        /// QMP event name (`STOP`, `RESET`, `BLOCK_IO_ERROR`, ...).
        name: String,
        /// Its data as QEMU sent it.
        data: serde_json::Value,
    },
    /// A line or block of trouble on the console.
    ConsoleTrouble {
        /// Kind of trouble (`panic`, `oops`, ...).
        kind: String,
        /// Normalised title.
        title: String,
    },
    /// A scenario went from well to failed or back.
    ScenarioChanged {
        /// Its name.
        scenario: String,
        /// Whether it is well now.
        well: bool,
        /// What was seen.
        why: String,
    },
    /// An incident was opened, or moved on.
    Incident {
        /// Which.
        id: IncidentId,
        /// What became of it (`opened`, `examined`, `closed`).
        what: String,
        /// One sentence.
        summary: String,
    },
    /// A transport could not be used, or can be again.
    Transport {
        /// Its name.
        transport: String,
        /// What the matter is; empty when it works again.
        problem: String,
    },
    /// Anything else worth keeping.
    Note {
        /// The text.
        text: String,
    },
}
