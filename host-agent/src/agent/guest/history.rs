//! What a guest answered and what happened to it of late: bounded, for the case of a diagnosis.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use uuid::Uuid;
use vmward_findings::ON_DEMAND;
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
        let scenario = ON_DEMAND.to_owned();
        Job {
            incident: IncidentId(Uuid::now_v7()),
            about: about.clone(),
            notice: Notice { scenario: scenario.clone(), at, first_failure: at },
            opening: Verdict {
                class: self.class(),
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

    /// The class that the last answers give: well where user space showed life and nothing fails.
    fn class(&self) -> Class {
        let mut last = BTreeMap::new();
        for it in &self.answers {
            last.insert((&it.scenario, &it.probe), &it.answer);
        }
        let lives =
            |(_, probe): &(&String, &String)| matches!(probe.as_str(), "console-label" | "console-command");
        let fails = last.values().any(|it| matches!(it, Answer::Fail(_)));
        let alive = last.iter().any(|(probe, answer)| lives(probe) && **answer == Answer::Pass);
        if alive && !fails { Class::Well } else { Class::Suspect }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use vmward_model::TransportKind;

    use super::*;

    fn answers(list: &[(&str, Answer)]) -> History {
        let mut history = History::default();
        for (probe, answer) in list {
            history.answer(ProbeAnswer {
                scenario: "s".to_owned(),
                probe: (*probe).to_owned(),
                transport: TransportKind::Console,
                at: clock::now(),
                took_ms: 1,
                answer: answer.clone(),
            });
        }
        history
    }

    #[test]
    fn an_examination_on_demand_opens_as_well_only_where_user_space_showed_life() {
        let fail = || Answer::Fail("late".to_owned());
        for (list, class) in [
            (vec![], Class::Suspect),
            (vec![("kernel-trouble", Answer::Pass)], Class::Suspect),
            (vec![("console-label", fail()), ("console-label", Answer::Pass)], Class::Well),
            (vec![("console-label", Answer::Pass), ("console-label", fail())], Class::Suspect),
            (vec![("console-command", Answer::Pass), ("qmp-status", fail())], Class::Suspect),
            (vec![("console-command", Answer::Unknown("held".to_owned()))], Class::Suspect),
        ] {
            assert_eq!(answers(&list).class(), class, "{list:?}");
        }
    }
}
