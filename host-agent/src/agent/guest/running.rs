//! A scenario of a guest while the agent runs: its schedule, its verdict, its open round.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use vmward_model::{Answer, ProbeAnswer, Stamp};

use super::round::Counted;
use super::scenario::Scenario;
use super::schedule::{Due, Schedule};
use crate::probe::named;
use crate::verdict::{Round, Standing, Watch};

/// The state of one scenario.
#[derive(Debug)]
pub struct Running {
    /// When rounds are due.
    pub schedule: Schedule,
    /// What they said over time.
    pub watch: Watch,
    /// The round that is not over.
    pub asked: Option<Asked>,
    /// What the last complete round said.
    pub last: Option<Round>,
    every: Duration,
}

/// A round that is not over.
#[derive(Debug)]
pub struct Asked {
    /// What it was due for.
    pub due: Due,
    /// When it began.
    pub began: Instant,
    /// The same, to be written down.
    pub at: Stamp,
    /// Answers so far.
    pub answers: Vec<Counted>,
    /// Answers that are still waited for.
    pub open: usize,
}

/// One scenario in `vmward agent`'s status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioStatus {
    /// Its name.
    pub scenario: String,
    /// `untried`, `well` or `failed`.
    pub standing: String,
    /// What the last round said.
    pub last: Option<Answer>,
    /// A round so often, in milliseconds.
    pub every_ms: u64,
}

impl Running {
    /// The scenario at `at` of its guest; `passed` when it did before a restart of the agent, with
    /// whether it had failed since.
    pub fn new(at: usize, scenario: &Scenario, now: Instant, passed: Option<bool>) -> Running {
        let watch = Watch::new(&*scenario.name, scenario.rule);
        // Spread over the first second, so that the rounds of a guest do not all fall together.
        let phase = Duration::from_millis(200 + 170 * (at as u64 % 5));
        Running {
            schedule: Schedule::new(scenario.every, now, phase),
            watch: match passed {
                Some(failed) => watch.restore(failed),
                None => watch,
            },
            asked: None,
            last: None,
            every: scenario.every,
        }
    }

    /// For people.
    pub fn status(&self) -> ScenarioStatus {
        let standing = match self.watch.standing() {
            Standing::Untried => "untried",
            Standing::Well => "well",
            Standing::Failed => "failed",
        };
        ScenarioStatus {
            scenario: self.watch.scenario().to_owned(),
            standing: standing.to_owned(),
            last: self.last.as_ref().map(|it| it.answer.clone()),
            every_ms: u64::try_from(self.every.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Asked {
    /// A round that begins now.
    pub fn new(due: Due, began: Instant, at: Stamp) -> Asked {
        Asked { due, began, at, answers: Vec::new(), open: 0 }
    }

    /// Its answers as they are written down.
    pub fn model(&self, scenario: &str) -> Vec<ProbeAnswer> {
        let one = |it: &Counted| {
            Some(ProbeAnswer {
                scenario: scenario.to_owned(),
                probe: it.probe.to_owned(),
                transport: named(it.probe)?.transport(),
                at: self.at,
                took_ms: u64::try_from(it.took.as_millis()).unwrap_or(u64::MAX),
                answer: it.said.answer.clone(),
            })
        };
        self.answers.iter().filter_map(one).collect()
    }
}
