//! What the store gives to whoever shows it: plain rows, the same for the API and the pages.
//!
//! Every text in here may have been chosen by a guest: escape before showing.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_findings::Conclusion;
use vmward_model::exchange::{HostId, ScenarioStatus, SpoolCounters};
use vmward_model::{
    Class, Digest, Event, GuestId, GuestState, Incarnation, IncidentId, IncidentState, Manifest, Severity,
};

/// One host that runs an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostRow {
    /// Which.
    pub id: HostId,
    /// Its name, as it calls itself.
    pub name: String,
    /// Program and version of its agent; empty before it said hello.
    pub software: String,
    /// Protocols that its agent speaks.
    pub protocols: Vec<u32>,
    /// What its agent can do.
    pub capabilities: Vec<String>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Entries (events and reports) that are stored here.
    pub stored_entries: u64,
    /// How its spool stood when it last said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<SpoolCounters>,
}

/// One guest on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuestRow {
    /// Which.
    pub id: GuestId,
    /// Its name.
    pub name: String,
    /// The host that watches it.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// What it is doing.
    pub state: GuestState,
    /// Whether the host still watches it.
    pub present: bool,
    /// Which life of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The scenarios that it is bound to.
    pub scenarios: Vec<ScenarioStatus>,
    /// When the newest of its rounds was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_round: Option<Timestamp>,
    /// When the host last told of it.
    pub last_seen: Timestamp,
    /// The newest incident that is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_incident: Option<IncidentId>,
}

/// One incident in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentRow {
    /// Which.
    pub id: IncidentId,
    /// Whose.
    pub guest: GuestId,
    /// The guest's name.
    pub guest_name: String,
    /// Where.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Where it stands. Never goes back, in whatever order its events and its report arrive.
    pub state: IncidentState,
    /// How much it matters.
    pub severity: Severity,
    /// The host's final class; absent before the report is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// What this controller's engine says of the same case; absent where the case is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_class: Option<Class>,
    /// Whether the two classes differ.
    pub differs: bool,
    /// The scenario that noticed; absent before the report is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// One sentence.
    pub summary: String,
    /// When it was noticed.
    pub opened: Timestamp,
    /// When its report was whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examined: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// Whether its report is here.
    pub has_report: bool,
}

/// One incident with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentDetail {
    /// As in a list.
    pub row: IncidentRow,
    /// The report's manifest; absent before the report is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Artifacts that the host does not let go.
    pub withheld: Vec<Digest>,
    /// What this controller's engine concludes from the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// Why there is no conclusion although there is a report; empty otherwise.
    pub not_concluded: String,
}

/// One event and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRow {
    /// Where.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// It.
    pub event: Event,
}

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// Rows.
    pub rows: Vec<T>,
    /// What to say as `before` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which incidents are wanted. What is absent does not narrow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentFilter {
    /// Of this guest.
    pub guest: Option<GuestId>,
    /// Of this host.
    pub host: Option<HostId>,
    /// Of this class, by the host or by this controller.
    pub class: Option<Class>,
    /// In this state.
    pub state: Option<IncidentState>,
    /// In any state but the last.
    pub unclosed: bool,
    /// Of at least this severity.
    pub severity: Option<Severity>,
    /// With this in its guest's name, its summary, its scenario or its id, whatever the case.
    pub text: Option<String>,
    /// Older than this one ([`Page::next`]).
    pub before: Option<IncidentId>,
    /// At most so many; bounded by [`MAX_ROWS`].
    pub limit: u32,
}

/// Which events are wanted. What is absent does not narrow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// Of this guest.
    pub guest: Option<GuestId>,
    /// Of this host.
    pub host: Option<HostId>,
    /// Of at least this severity.
    pub severity: Option<Severity>,
    /// Older than this one ([`Page::next`]).
    pub before: Option<String>,
    /// At most so many; bounded by [`MAX_ROWS`].
    pub limit: u32,
}

/// Most rows of one page.
pub const MAX_ROWS: u32 = 500;
/// Rows of a page where nobody said how many.
pub const USUAL_ROWS: u32 = 50;
