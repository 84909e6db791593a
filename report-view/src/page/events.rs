//! What happened to a guest, newest first.

use jiff::Timestamp;
use vmward_model::Severity;

use super::incidents::severity;
use super::table::{Row, Table};
use crate::escape::Text;
use crate::section::event_text;
use crate::value::{Tone, Value};

/// One event of a list.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// When it was noticed.
    pub at: Timestamp,
    /// How much it matters.
    pub severity: Severity,
    /// What happened.
    pub text: Text,
}

impl EventLine {
    /// The line of an event.
    pub fn of(event: &vmward_model::Event) -> EventLine {
        EventLine { at: event.at.utc, severity: event.severity, text: event_text(&event.kind) }
    }
}

pub(super) fn table(lines: &[EventLine], empty: &str) -> Table {
    let row = |it: &EventLine| {
        let tone = match it.severity {
            Severity::Crit | Severity::Error => Tone::Alarm,
            Severity::Warn => Tone::Warn,
            Severity::Info | Severity::Debug => Tone::Quiet,
        };
        let cells = vec![
            vec![Value::time(it.at)],
            vec![Value::badge(severity(it.severity), tone)],
            vec![it.text.clone().into()],
        ];
        Row { tone, cells }
    };
    Table {
        caption: "Events".into(),
        head: vec!["when", "severity", "what"],
        rows: lines.iter().map(row).collect(),
        empty: empty.into(),
    }
}
