//! One incident of a guest, from the first failed scenario to its close. Pure: the actor does the
//! waiting and the writing.
//!
//! Several scenarios that fail together are one incident: it settles for a moment before the
//! diagnosis begins, and the verdict that opens it is that of the scenario that tells most.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use vmward_model::{
    Evidence, IncidentId, IncidentInput, IncidentState, Notice, Severity, Stamp, Transition, Verdict,
};

use super::guest::memory::Remembered;
use crate::verdict::{Failure, weight};

/// How long an incident settles.
pub const SETTLE: Duration = Duration::from_millis(1500);
/// At most so many signs of all scenarios together.
const EVIDENCE: usize = 64;

/// An incident that is not closed.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Where it stands.
    pub state: IncidentState,
    /// How it was noticed.
    pub notice: Notice,
    /// What opened it.
    pub opening: Verdict,
    /// The diagnosis begins then.
    pub settled: Instant,
    /// Diagnoses that were lost.
    pub lost: u32,
    /// The bundle, once whole.
    pub bundle: Option<PathBuf>,
    failed: BTreeSet<String>,
    ended: bool,
}

impl Incident {
    /// A scenario failed while none was open.
    pub fn open(scenario: &str, failure: Failure, at: Stamp, now: Instant) -> Incident {
        let opening = Verdict {
            class: failure.class,
            confidence: failure.confidence,
            scenario: scenario.to_owned(),
            at,
            evidence: failure.evidence,
        };
        Incident {
            id: IncidentId(Uuid::now_v7()),
            state: IncidentState::Open,
            notice: Notice { scenario: scenario.to_owned(), at, first_failure: failure.first },
            opening,
            settled: now + SETTLE,
            lost: 0,
            bundle: None,
            failed: [scenario.to_owned()].into(),
            ended: false,
        }
    }

    /// One from before a restart of the agent whose bundle is whole.
    pub fn resume(it: Remembered, now: Instant) -> Incident {
        let scenario = it.opening.scenario.clone();
        Incident {
            id: it.id,
            state: it.state,
            notice: Notice { scenario, at: it.opened, first_failure: it.opened },
            opening: it.opening,
            settled: now,
            lost: 0,
            bundle: it.bundle,
            failed: it.failed,
            ended: false,
        }
    }

    /// A further scenario failed. Gives whether this is trouble of another kind than what was
    /// examined: then it is an incident of its own.
    pub fn also(&mut self, scenario: &str, failure: &Failure) -> bool {
        if self.state == IncidentState::Reported && weight(failure.class) > weight(self.opening.class) {
            return true;
        }
        self.failed.insert(scenario.to_owned());
        self.ended = false;
        if self.state == IncidentState::Open {
            if weight(failure.class) > weight(self.opening.class) {
                self.opening.class = failure.class;
                self.opening.confidence = failure.confidence;
                self.opening.scenario = scenario.to_owned();
            }
            let room = EVIDENCE.saturating_sub(self.opening.evidence.len());
            self.opening.evidence.extend(failure.evidence.iter().take(room).cloned());
        }
        false
    }

    /// A sign that is no failure of a scenario.
    pub fn note(&mut self, evidence: Evidence) {
        if self.state == IncidentState::Open && self.opening.evidence.len() < EVIDENCE {
            self.opening.evidence.push(evidence);
        }
    }

    /// A scenario is well again; gives whether the trouble is over.
    pub fn recovered(&mut self, scenario: &str) -> bool {
        self.failed.remove(scenario);
        self.failed.is_empty()
    }

    /// Moves it; gives whether it is closed now.
    pub fn input(&mut self, input: IncidentInput) -> bool {
        match self.state.next(input) {
            Transition::Go(to) => self.state = to,
            Transition::Stay => self.ended |= input == IncidentInput::TroubleEnded,
            Transition::Illegal => tracing::warn!(?input, state = ?self.state, "input makes no sense here"),
        }
        if input == IncidentInput::DiagnosisLost {
            self.lost = self.lost.saturating_add(1);
        }
        // Trouble that ended during the diagnosis closes it once the bundle is whole.
        if self.ended && matches!(self.state, IncidentState::Open | IncidentState::Reported) {
            self.state = self.state.next(IncidentInput::TroubleEnded).or(self.state);
        }
        self.state == IncidentState::Closed
    }

    /// What of it outlives the agent.
    pub fn remember(&self) -> Remembered {
        Remembered {
            id: self.id,
            state: self.state,
            opened: self.notice.at,
            opening: self.opening.clone(),
            failed: self.failed.clone(),
            bundle: self.bundle.clone(),
        }
    }

    /// How much an event of it matters.
    pub fn severity(&self) -> Severity {
        if weight(self.opening.class) >= 4 { Severity::Crit } else { Severity::Error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::clock;
    use vmward_model::{Class, Confidence};

    fn failure(class: Class) -> Failure {
        let text = format!("{class}");
        let evidence = vec![Evidence { source: "probe:x".into(), text, supports: true }];
        Failure { first: clock::now(), class, confidence: Confidence::Likely, evidence }
    }

    fn opened(class: Class) -> Incident {
        Incident::open("app-label", failure(class), clock::now(), Instant::now())
    }

    #[tokio::test]
    async fn scenarios_that_fail_together_are_one_incident_with_the_verdict_that_tells_most() {
        let mut it = opened(Class::Suspect);
        assert!(!it.also("qemu-answers", &failure(Class::QemuStuck)));
        assert_eq!((it.opening.class, it.notice.scenario.as_str()), (Class::QemuStuck, "app-label"));
        assert_eq!(it.opening.evidence.len(), 2);
        assert!(!it.recovered("app-label"));
        assert!(it.recovered("qemu-answers"));
    }

    #[tokio::test]
    async fn the_opening_verdict_stays_as_it_was_once_the_diagnosis_began() {
        let mut it = opened(Class::Suspect);
        it.input(IncidentInput::DiagnosisBegan);
        assert!(!it.also("kernel-trouble", &failure(Class::Panicked)));
        assert_eq!(it.opening.class, Class::Suspect);
        it.input(IncidentInput::BundleWritten);
        assert!(!it.also("shell-answers", &failure(Class::Suspect)), "the same trouble");
        assert!(it.also("kernel-trouble", &failure(Class::Panicked)), "worse trouble is another incident");
    }

    #[tokio::test]
    async fn trouble_that_ends_during_the_diagnosis_is_closed_after_it() {
        let mut it = opened(Class::Suspect);
        it.input(IncidentInput::DiagnosisBegan);
        assert!(!it.input(IncidentInput::TroubleEnded));
        assert!(it.input(IncidentInput::BundleWritten));
    }
}
