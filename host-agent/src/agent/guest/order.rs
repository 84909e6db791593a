//! What others may ask of a guest's actor.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vmward_model::{GuestId, GuestState, Incarnation, IncidentId, IncidentState};

use super::ports::Examined;
use super::running::ScenarioStatus;

/// An order.
#[derive(Debug)]
pub enum Order {
    /// Say how the guest is.
    Status(oneshot::Sender<Status>),
    /// Hold the rounds of all scenarios now, or of the one that is named. Answers are told live.
    Round(Option<String>),
    /// Examine the guest now.
    Diagnose(oneshot::Sender<Report>),
}

/// What came of an order that takes time.
#[derive(Clone, Debug)]
pub enum Report {
    /// A diagnosis.
    Examined(Result<Examined, String>),
}

/// How a guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which guest.
    pub guest: GuestId,
    /// Its name. Chosen by whoever started it: escape before showing.
    pub name: String,
    /// Which life.
    pub incarnation: Option<Incarnation>,
    /// Its state.
    pub state: GuestState,
    /// Its scenarios.
    pub scenarios: Vec<ScenarioStatus>,
    /// Its open incident.
    pub incident: Option<(IncidentId, IncidentState)>,
    /// The bundle of that incident, once whole.
    pub bundle: Option<PathBuf>,
}
