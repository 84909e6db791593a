//! What a guest answered and what happened to it of late: bounded, for the case of a diagnosis.

use std::collections::VecDeque;
use std::time::Duration;

use uuid::Uuid;
use vmward_model::{Answer, Class, Confidence, Event, Evidence, IncidentId, Notice, ProbeAnswer, Verdict};

use super::ports::Job;
use super::view::View;
use crate::agent::clock;
use crate::agent::events::About;

/// So much of each is kept.
const KEPT: usize = 256;

/// The last answers and events of a guest.
#[derive(Debug, Default)]
pub struct History {
    answers: VecDeque<ProbeAnswer>,
    events: VecDeque<Event>,
}

impl History {
    /// Keeps an answer.
    pub fn answer(&mut self, answer: ProbeAnswer) {
        push(&mut self.answers, answer);
    }

    /// Keeps an event.
    pub fn event(&mut self, event: Event) {
        push(&mut self.events, event);
    }

    /// The answers, oldest first.
    pub fn answers(&self) -> Vec<ProbeAnswer> {
        self.answers.iter().cloned().collect()
    }

    /// The events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    /// A diagnosis that somebody asked for, with the last answers as its evidence.
    pub fn on_demand(&self, about: &About, view: &View, within: Duration) -> Job {
        let at = clock::now();
        let evidence = self.answers.iter().rev().take(8).filter_map(|it| {
            let (text, supports) = match &it.answer {
                Answer::Pass => ("passed".to_owned(), false),
                Answer::Fail(why) => (why.clone(), true),
                Answer::Unknown(_) => return None,
            };
            Some(Evidence { source: format!("probe:{}", it.scenario), text, supports })
        });
        let scenario = "on-demand".to_owned();
        Job {
            incident: IncidentId(Uuid::now_v7()),
            about: about.clone(),
            notice: Notice { scenario: scenario.clone(), at, first_failure: at },
            opening: Verdict {
                class: Class::Suspect,
                confidence: Confidence::Possible,
                scenario,
                at,
                evidence: evidence.collect(),
            },
            view: view.clone(),
            answers: self.answers(),
            events: self.events(),
            on_demand: true,
            within,
        }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= KEPT {
        list.pop_front();
    }
    list.push_back(item);
}
