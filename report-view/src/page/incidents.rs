//! Incidents, newest first.

use jiff::Timestamp;
use vmward_model::{Class, GuestId, IncidentId, IncidentState, Severity};

use super::table::{Row, Table};
use super::{Filter, Here, Parts, Software, wrap};
use crate::escape::Text;
use crate::html::RenderError;
use crate::section::tone;
use crate::value::{Href, Tone, Value};

/// One incident of a list.
#[derive(Clone, Debug)]
pub struct IncidentLine {
    /// Which.
    pub id: IncidentId,
    /// Whose.
    pub guest: GuestId,
    /// The guest's name.
    pub guest_name: Text,
    /// The host's name.
    pub host_name: Text,
    /// Where it stands.
    pub state: IncidentState,
    /// How much it matters.
    pub severity: Severity,
    /// The host's class.
    pub class: Option<Class>,
    /// The controller's class where it is another.
    pub other_class: Option<Class>,
    /// One sentence.
    pub summary: Text,
    /// When it was noticed.
    pub opened: Timestamp,
    /// When it ended.
    pub closed: Option<Timestamp>,
}

impl IncidentLine {
    pub(super) fn link(&self) -> Href {
        Href::to("/incidents").join(self.id)
    }

    pub(super) fn state(&self) -> Value {
        match self.state {
            IncidentState::Open => Value::badge("open", Tone::Alarm),
            IncidentState::Examining => Value::badge("being examined", Tone::Alarm),
            IncidentState::Reported => Value::badge("goes on", Tone::Alarm),
            IncidentState::Closed => Value::badge("closed", Tone::Quiet),
        }
    }

    pub(super) fn classes(&self) -> Vec<Value> {
        let mut classes = Vec::new();
        // What is over does not call for anybody.
        let tone = |class| if self.state == IncidentState::Closed { Tone::Quiet } else { tone(class) };
        match self.class {
            Some(class) => classes.push(Value::badge(class.name(), tone(class))),
            None => classes.push(Value::badge("no report yet", Tone::Quiet)),
        }
        if let Some(other) = self.other_class.filter(|it| Some(*it) != self.class) {
            classes.push(Value::badge(format!("controller: {other}"), Tone::Warn));
        }
        classes
    }

    fn row(&self) -> Row {
        let tone = if self.state == IncidentState::Closed { Tone::Quiet } else { Tone::Alarm };
        let summary =
            if self.summary.is_empty() { "no words about it yet".into() } else { self.summary.clone() };
        let guest = Value::link(self.guest_name.clone(), Href::to("/guests").join(self.guest));
        let cells = vec![
            vec![Value::time(self.opened)],
            vec![guest],
            self.classes(),
            vec![Value::link(summary, self.link())],
            vec![self.state()],
            vec![severity(self.severity).into()],
            vec![self.host_name.clone().into()],
        ];
        Row { tone, cells }
    }
}

/// The word for a severity, as operators know it.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO",
        Severity::Warn => "WARN",
        Severity::Error => "ERROR",
        Severity::Crit => "CRIT",
    }
}

/// A table of incidents.
pub(super) fn table(caption: &str, lines: &[IncidentLine], empty: &str) -> Table {
    Table {
        caption: caption.into(),
        head: vec!["noticed", "guest", "class", "what", "state", "severity", "host"],
        rows: lines.iter().map(IncidentLine::row).collect(),
        empty: empty.into(),
    }
}

/// The page of incidents. `older` leads to the next ones, `newest` back to the first.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn incidents(
    software: &Software,
    filter: &Filter,
    lines: &[IncidentLine],
    older: Option<&Href>,
    newest: Option<&Href>,
) -> Result<String, RenderError> {
    let empty = if filter.narrows() {
        "No incident is like that."
    } else {
        "No incident so far. When a guest is in trouble, it appears here by itself."
    };
    let mut live = table("Incidents, newest first", lines, empty).html()?;
    if older.is_some() || newest.is_some() {
        live.push_str("<nav class=\"paging\" aria-label=\"More incidents\">");
        for (to, word) in [(newest, "newest"), (older, "older")] {
            if let Some(to) = to {
                live.push_str(&format!("<a href=\"{}\">{word}</a> ", crate::html::escaped(to.as_str())));
            }
        }
        live.push_str("</nav>\n");
    }
    let said = match lines.first() {
        Some(it) => format!("{} incidents listed. Newest: {}, {}", lines.len(), it.guest_name, it.summary),
        None => "No incidents listed".to_owned(),
    };
    wrap(
        software,
        &Parts {
            here: Here::Incidents,
            title: "Incidents".into(),
            fixed: format!("<h1>Incidents</h1>\n{}", filter.html()?),
            live,
            said: said.into(),
        },
    )
}
