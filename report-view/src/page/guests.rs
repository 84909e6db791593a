//! Guests with their state, their scenarios' last rounds, their host and their trouble.

use jiff::Timestamp;
use vmward_model::{GuestId, GuestState, IncidentId};

use super::table::{Row, Table};
use super::{Filter, Here, Parts, Software, wrap};
use crate::escape::Text;
use crate::html::RenderError;
use crate::value::{Href, Tone, Value};

/// One guest of a list.
#[derive(Clone, Debug)]
pub struct GuestLine {
    /// Which.
    pub id: GuestId,
    /// Its name.
    pub name: Text,
    /// The host's name.
    pub host_name: Text,
    /// What it is doing.
    pub state: GuestState,
    /// Whether its host still watches it.
    pub present: bool,
    /// Its scenarios.
    pub scenarios: Vec<ScenarioLine>,
    /// When the host last told of it.
    pub last_seen: Timestamp,
    /// The incident that is not closed.
    pub incident: Option<IncidentId>,
}

/// One scenario of a guest.
#[derive(Clone, Debug)]
pub struct ScenarioLine {
    /// Its name.
    pub name: Text,
    /// Whether it is well; `None` before the first answer.
    pub well: Option<bool>,
    /// The last round.
    pub last: Text,
    /// When that was.
    pub at: Option<Timestamp>,
}

impl ScenarioLine {
    pub(super) fn when(&self) -> Value {
        self.at.map(Value::time).unwrap_or_default()
    }

    pub(super) fn state(&self) -> Value {
        match self.well {
            Some(true) => Value::badge("well", Tone::Good),
            Some(false) => Value::badge("fails", Tone::Alarm),
            None => Value::badge("no answer yet", Tone::Quiet),
        }
    }
}

impl GuestLine {
    /// What it means for whoever looks after it.
    pub(super) fn tone(&self) -> Tone {
        let fails = self.scenarios.iter().any(|it| it.well == Some(false));
        if self.incident.is_some() {
            Tone::Alarm
        } else if !self.present {
            Tone::Quiet
        } else if fails {
            Tone::Warn
        } else {
            state_tone(self.state)
        }
    }

    pub(super) fn seen(&self) -> Value {
        Value::time(self.last_seen)
    }

    pub(super) fn link(&self) -> Href {
        Href::to("/guests").join(self.id)
    }

    pub(super) fn state(&self) -> Value {
        if self.present {
            Value::badge(state_name(self.state), state_tone(self.state))
        } else {
            Value::badge("not watched any more", Tone::Quiet)
        }
    }

    fn row(&self) -> Row {
        let mut rounds = Vec::new();
        for it in &self.scenarios {
            let word = match it.well {
                Some(true) => "well",
                Some(false) => "fails",
                None => "no answer yet",
            };
            let tone = match it.well {
                Some(true) => Tone::Good,
                Some(false) => Tone::Alarm,
                None => Tone::Quiet,
            };
            rounds.push(Value::badge(format!("{} {word}", it.name), tone));
        }
        let newest = self.scenarios.iter().filter(|it| it.at.is_some()).max_by_key(|it| it.at);
        let last = match newest.and_then(|it| it.at.map(|at| (it, at))) {
            Some((it, at)) => vec![Value::time(at), Value::from(format!("{}: {}", it.name, it.last))],
            None => vec![Value::from("none so far")],
        };
        let trouble = match self.incident {
            Some(id) => vec![Value::link("open incident", Href::to("/incidents").join(id))],
            None => Vec::new(),
        };
        let cells = vec![
            vec![Value::link(self.name.clone(), self.link())],
            vec![self.state()],
            rounds,
            last,
            trouble,
            vec![self.host_name.clone().into()],
        ];
        Row { tone: self.tone(), cells }
    }
}

/// The word for a state.
pub(super) fn state_name(state: GuestState) -> &'static str {
    match state {
        GuestState::Unknown => "unknown",
        GuestState::Running => "running",
        GuestState::Paused => "paused",
        GuestState::Migrating => "migrating",
        GuestState::Saving => "being saved",
        GuestState::Rebooting => "rebooting",
        GuestState::ShutDown => "shut down",
        GuestState::Panicked => "panicked",
        GuestState::HostError => "stopped by an error",
        GuestState::Silent => "QEMU is silent",
        GuestState::Gone => "gone",
    }
}

pub(super) fn state_tone(state: GuestState) -> Tone {
    match state {
        GuestState::Running => Tone::Good,
        GuestState::Panicked | GuestState::HostError | GuestState::Silent => Tone::Alarm,
        GuestState::Paused | GuestState::Gone => Tone::Warn,
        _ => Tone::Quiet,
    }
}

/// A table of guests.
pub(super) fn table(lines: &[GuestLine], empty: &str) -> Table {
    Table {
        caption: "Guests".into(),
        head: vec!["guest", "state", "scenarios", "last round", "trouble", "host"],
        rows: lines.iter().map(GuestLine::row).collect(),
        empty: empty.into(),
    }
}

/// The page of guests.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn guests(software: &Software, filter: &Filter, lines: &[GuestLine]) -> Result<String, RenderError> {
    let empty = if filter.narrows() {
        "No guest is like that."
    } else {
        "No guest is known so far. Guests appear here when an agent tells of them."
    };
    let trouble = lines.iter().filter(|it| it.incident.is_some()).count();
    wrap(
        software,
        &Parts {
            here: Here::Guests,
            title: "Guests".into(),
            fixed: format!("<h1>Guests</h1>\n{}", filter.html()?),
            live: table(lines, empty).html()?,
            said: format!("{} guests listed, {trouble} in trouble", lines.len()).into(),
        },
    )
}
