//! A stretch of trouble of one guest, from notice to close.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Transition;
use crate::capture::CaptureRecord;
use crate::finding::Finding;
use crate::guest::GuestState;
use crate::id::{GuestId, Incarnation, IncidentId};
use crate::time::Stamp;
use crate::verdict::{Class, Verdict};

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentState {
    /// A scenario failed; the diagnosis has not begun.
    Open,
    /// Captures run.
    Examining,
    /// The bundle is whole on disk; the trouble goes on.
    Reported,
    /// The guest is well again, was restarted, or is gone.
    Closed,
}

/// What moves an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentInput {
    /// The diagnosis began.
    DiagnosisBegan,
    /// The bundle was written and synced.
    BundleWritten,
    /// The diagnosis was cut short (agent stopped, disk full).
    DiagnosisLost,
    /// The failed scenario is well again, or the incarnation ended.
    TroubleEnded,
}

impl IncidentInput {
    /// Every input, for diagrams.
    pub const ALL: [IncidentInput; 4] = [
        IncidentInput::DiagnosisBegan,
        IncidentInput::BundleWritten,
        IncidentInput::DiagnosisLost,
        IncidentInput::TroubleEnded,
    ];
}

impl IncidentState {
    /// Every state, for diagrams.
    pub const ALL: [IncidentState; 4] =
        [IncidentState::Open, IncidentState::Examining, IncidentState::Reported, IncidentState::Closed];

    /// The state after `input`. Trouble that ends during a diagnosis does not end the diagnosis:
    /// the evidence is wanted all the more.
    pub fn next(self, input: IncidentInput) -> Transition<IncidentState> {
        use IncidentInput as I;
        use IncidentState as S;
        match (self, input) {
            (S::Open, I::DiagnosisBegan) => Transition::Go(S::Examining),
            (S::Open | S::Reported, I::TroubleEnded) => Transition::Go(S::Closed),
            (S::Examining, I::BundleWritten) => Transition::Go(S::Reported),
            (S::Examining, I::DiagnosisLost) => Transition::Go(S::Open),
            (S::Examining, I::TroubleEnded) => Transition::Stay,
            (S::Reported, I::DiagnosisBegan) => Transition::Go(S::Examining),
            (S::Closed, I::TroubleEnded) => Transition::Stay,
            _ => Transition::Illegal,
        }
    }
}

/// How and when the trouble was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// Scenario that noticed.
    pub scenario: String,
    /// When its N-of-M rule was met.
    pub at: Stamp,
    /// When the first answer that counted against the guest was asked for.
    pub first_failure: Stamp,
}

/// One incident as it is written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Version of this form.
    pub format: u32,
    /// Its name.
    pub id: IncidentId,
    /// Whose it is.
    pub guest: GuestId,
    /// The guest's name. Chosen by whoever started the guest: escape before showing.
    pub guest_name: String,
    /// Which life of the guest.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub state: IncidentState,
    /// The guest's state when the diagnosis began.
    pub guest_state: GuestState,
    /// How it was noticed.
    pub notice: Notice,
    /// The verdict that opened it, from probes alone.
    pub opening: Verdict,
    /// The final class, set by the first of `findings`.
    pub class: Class,
    /// Conclusions, the deciding one first.
    pub findings: Vec<Finding>,
    /// Every capture of the diagnosis and what became of it.
    pub captures: Vec<CaptureRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_ends_during_the_diagnosis_does_not_lose_the_evidence() {
        let examining = IncidentState::Open.next(IncidentInput::DiagnosisBegan).or(IncidentState::Open);
        assert_eq!(examining.next(IncidentInput::TroubleEnded), Transition::Stay);
        assert_eq!(examining.next(IncidentInput::BundleWritten), Transition::Go(IncidentState::Reported));
    }

    #[test]
    fn a_closed_incident_is_never_opened_again() {
        for input in
            [IncidentInput::DiagnosisBegan, IncidentInput::BundleWritten, IncidentInput::DiagnosisLost]
        {
            assert_eq!(IncidentState::Closed.next(input), Transition::Illegal);
        }
    }
}
