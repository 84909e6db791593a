//! What an agent and a controller say to each other.
//!
//! The agent only dials out. It says [`AgentHello`] first, on a path that never changes, and learns
//! from [`ControllerHello`] what its peer can do; [`Agreement::between`] is what both then go by.
//! Everything that is sent may be sent again: events are known by host and number, reports by their
//! incident, artifacts by their digest, so that a lost answer doubles nothing.
//!
//! | call | since | body | answer |
//! |---|---|---|---|
//! | `POST /api/hello` | always | [`AgentHello`] | [`ControllerHello`] |
//! | `GET /api/v1/uploads/{sha256}` | protocol 1 | - | [`UploadState`] |
//! | `PUT /api/v1/uploads/{sha256}?offset=N&size=TOTAL` | protocol 1 | bytes | [`UploadState`] |
//! | `POST /api/v1/events` | protocol 1 | [`EventBatch`] | [`EventsStored`] |
//! | `PUT /api/v1/reports/{incident}` | protocol 1 | [`ReportCommit`] | [`Receipt`] |
//! | `POST /api/v2/entries` | protocol 2 | [`EntryBatch`] | [`EntryReceipts`] |
//! | `PUT /api/v1/hosts/{host}/guests` | capability [`GUEST_STATUS`] | [`StatusPush`] | 204 |
//!
//! Without [`ARTIFACT_RESUME`] an artifact is sent in one piece with offset 0.
//!
//! The feature `older-peer` builds a program that does not know protocol 2 and neither
//! [`ARTIFACT_RESUME`] nor [`GUEST_STATUS`]: each side is tested against the other's older self.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Event, Severity};
use crate::guest::GuestState;
use crate::id::{Digest, GuestId, Incarnation, IncidentId};
use crate::manifest::Manifest;
use crate::time::Stamp;

/// Artifacts may be sent in pieces and go on where they were cut off.
pub const ARTIFACT_RESUME: &str = "artifact-resume";
/// The agent tells which guests it watches and how they are.
pub const GUEST_STATUS: &str = "guest-status";

/// Protocols that this build speaks, oldest first.
#[cfg(not(feature = "older-peer"))]
pub const PROTOCOLS: &[u32] = &[1, 2];
/// Protocols that this build speaks, oldest first.
#[cfg(feature = "older-peer")]
pub const PROTOCOLS: &[u32] = &[1];

/// Capabilities of this build.
#[cfg(not(feature = "older-peer"))]
pub const CAPABILITIES: &[&str] = &[ARTIFACT_RESUME, GUEST_STATUS];
/// Capabilities of this build.
#[cfg(feature = "older-peer")]
pub const CAPABILITIES: &[&str] = &[];

/// A host that runs an agent: made at random when the agent first starts, kept in its state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The agent's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentHello {
    /// Which host.
    pub host: HostId,
    /// The host's name, as it calls itself.
    pub host_name: String,
    /// Program and version.
    pub software: String,
    /// Protocols that it speaks.
    pub protocols: Vec<u32>,
    /// What it can do; unknown ones are ignored.
    pub capabilities: Vec<String>,
}

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControllerHello {
    /// Program and version.
    pub software: String,
    /// Protocols that it speaks.
    pub protocols: Vec<u32>,
    /// What it can do; unknown ones are ignored.
    pub capabilities: Vec<String>,
    /// What it takes at once.
    pub limits: ExchangeLimits,
}

/// What a controller takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExchangeLimits {
    /// Bytes of one piece of an artifact.
    pub chunk_bytes: u64,
    /// Bytes of one artifact.
    pub artifact_bytes: u64,
    /// Entries or events in one call.
    pub batch_entries: u64,
    /// Bytes of one JSON body.
    pub body_bytes: u64,
}

/// What both sides can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The newest protocol of both.
    pub protocol: u32,
    /// Capabilities of both.
    pub capabilities: BTreeSet<String>,
}

impl Agreement {
    /// What this build and a peer that said `protocols` and `capabilities` can do together; `None`
    /// where they have no protocol in common.
    pub fn with(protocols: &[u32], capabilities: &[String]) -> Option<Agreement> {
        let ours: Vec<String> = CAPABILITIES.iter().map(|it| (*it).to_owned()).collect();
        Agreement::between((PROTOCOLS, &ours), (protocols, capabilities))
    }

    /// What two peers can do together; `None` where they have no protocol in common.
    pub fn between(one: (&[u32], &[String]), other: (&[u32], &[String])) -> Option<Agreement> {
        let protocol = one.0.iter().filter(|it| other.0.contains(it)).max().copied()?;
        let capabilities = one.1.iter().filter(|it| other.1.contains(it)).cloned().collect();
        Some(Agreement { protocol, capabilities })
    }

    /// Whether both can do it.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}

/// How much of an artifact the controller has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadState {
    /// All of it, checked against its name.
    pub stored: bool,
    /// Bytes that it has; the next piece begins here.
    pub offset: u64,
}

/// Events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventBatch {
    /// Whose.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// At most [`ExchangeLimits::batch_entries`].
    pub events: Vec<Event>,
}

/// What became of an [`EventBatch`]: all of it is stored when this comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventsStored {
    /// New ones.
    pub stored: u64,
    /// Those that were there before.
    pub duplicates: u64,
}

/// A report whose artifacts were sent before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReportCommit {
    /// Whose.
    pub host: HostId,
    /// The report's manifest as it lies on the host.
    pub manifest: Manifest,
    /// Artifacts that the host's configuration does not let go.
    #[serde(default)]
    pub withheld: Vec<Digest>,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Receipt {
    /// It is on the controller's disk.
    Stored,
    /// It was there before.
    Duplicate,
    /// Artifacts are missing: send them, then the entry again.
    Missing {
        /// Which.
        digests: Vec<Digest>,
    },
    /// It will never be taken as it is; sending it again is of no use.
    Refused {
        /// Why, in a sentence.
        why: String,
    },
}

impl Receipt {
    /// Whether the controller has it.
    pub fn is_stored(&self) -> bool {
        matches!(self, Receipt::Stored | Receipt::Duplicate)
    }
}

/// What a spool has done since it was made. `made = stored + refused + dropped + waiting` at every
/// moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpoolCounters {
    /// Entries that were put in.
    pub made: u64,
    /// Entries that a controller has.
    pub stored: u64,
    /// Entries that a controller will never take.
    pub refused: u64,
    /// Entries that the bound dropped, by severity.
    pub dropped: Dropped,
    /// Entries that still wait.
    pub waiting: u64,
    /// Bytes that these take.
    pub waiting_bytes: u64,
}

/// Entries that a spool's bound dropped. The lowest severity goes first, the oldest within one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub struct Dropped {
    /// Of severity DEBUG.
    pub debug: u64,
    /// Of severity INFO.
    pub info: u64,
    /// Of severity WARN.
    pub warn: u64,
    /// Of severity ERROR.
    pub error: u64,
    /// Of severity CRIT.
    pub crit: u64,
}

impl Dropped {
    /// The counter of one severity.
    pub fn of(&mut self, severity: Severity) -> &mut u64 {
        match severity {
            Severity::Debug => &mut self.debug,
            Severity::Info => &mut self.info,
            Severity::Warn => &mut self.warn,
            Severity::Error => &mut self.error,
            Severity::Crit => &mut self.crit,
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        [self.debug, self.info, self.warn, self.error, self.crit]
            .iter()
            .fold(0, |sum, it| sum.saturating_add(*it))
    }
}

/// One entry of a spool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Number in the spool it comes from; rises by one and never repeats.
    pub seq: u64,
    /// What it holds.
    #[serde(flatten)]
    pub body: EntryBody,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum EntryBody {
    /// An event.
    Event {
        /// It.
        event: Event,
    },
    /// A report whose artifacts were sent before.
    Report {
        /// It; boxed, being large.
        report: Box<ReportCommit>,
    },
}

/// Entries, and how the spool stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EntryBatch {
    /// Whose.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// How the spool stands.
    pub counters: SpoolCounters,
    /// At most [`ExchangeLimits::batch_entries`].
    pub entries: Vec<Entry>,
}

/// What became of each entry of an [`EntryBatch`], in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryReceipts {
    /// One for each entry.
    pub receipts: Vec<Receipt>,
}

/// How the guests of a host are. Takes the place of what the host said before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusPush {
    /// The host's name.
    pub host_name: String,
    /// When.
    pub at: Stamp,
    /// Every guest that is watched.
    pub guests: Vec<GuestStatus>,
}

/// How one guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestStatus {
    /// Which.
    pub guest: GuestId,
    /// Its name. Chosen by whoever started it: escape before showing.
    pub name: String,
    /// Which life of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// What it is doing.
    pub state: GuestState,
    /// The scenarios that it is bound to.
    pub scenarios: Vec<ScenarioStatus>,
    /// The incident that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// How one scenario of a guest stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioStatus {
    /// Its name.
    pub name: String,
    /// Whether its rule is met by failures; absent before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well: Option<bool>,
    /// The last round: `pass`, `fail: WHY`, `unknown: WHY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Stamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn two_peers_go_by_what_both_know() {
        let new = words(&[ARTIFACT_RESUME, GUEST_STATUS, "of-the-future"]);
        let old = words(&[ARTIFACT_RESUME]);
        let both = Agreement::between((&[1, 2, 3], &new), (&[1, 2], &old)).unwrap();
        assert_eq!(both.protocol, 2);
        assert!(both.can(ARTIFACT_RESUME) && !both.can(GUEST_STATUS));
    }

    #[test]
    fn peers_without_a_protocol_in_common_do_not_agree() {
        assert_eq!(Agreement::between((&[1], &[]), (&[2], &[])), None);
    }

    #[test]
    fn an_entry_reads_like_its_kind() {
        let text = serde_json::to_value(Receipt::Missing { digests: vec![] }).unwrap();
        assert_eq!(text["outcome"], "missing");
    }
}
