//! Hosts, what their agents are, and how their spools stand.

use jiff::Timestamp;
use vmward_model::exchange::{HostId, SpoolCounters};

use super::table::{Row, Table};
use super::{Here, Parts, Software, wrap};
use crate::escape::Text;
use crate::html::RenderError;
use crate::section::bytes;
use crate::value::{Href, Tone, Value};

/// One host of a list.
#[derive(Clone, Debug)]
pub struct HostLine {
    /// Which.
    pub id: HostId,
    /// Its name.
    pub name: Text,
    /// Program and version of its agent.
    pub software: Text,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Entries that are stored here.
    pub stored: u64,
    /// Guests that it watches.
    pub guests: usize,
    /// How its spool stood when it last said so.
    pub counters: Option<SpoolCounters>,
}

impl HostLine {
    pub(super) fn tone(&self) -> Tone {
        match &self.counters {
            Some(it) if it.dropped.total() > 0 || it.refused > 0 => Tone::Warn,
            _ => Tone::Quiet,
        }
    }

    fn row(&self) -> Row {
        let none = || vec![Value::from("not told")];
        let (waiting, stored, refused, dropped) = match &self.counters {
            Some(it) => (
                vec![Value::number(format!("{} ({})", it.waiting, bytes(it.waiting_bytes)))],
                vec![Value::number(format!("{} of {}", it.stored, it.made))],
                vec![count(it.refused, "")],
                dropped(it),
            ),
            None => (none(), vec![Value::number(self.stored.to_string())], none(), none()),
        };
        let software = if self.software.is_empty() {
            "said no hello".into()
        } else {
            Value::from(self.software.clone())
        };
        let guests = Href::to("/guests").with("host", &self.id.to_string());
        let words = if self.guests == 1 { "1 guest".to_owned() } else { format!("{} guests", self.guests) };
        let cells = vec![
            vec![self.name.clone().into()],
            vec![software],
            vec![Value::time(self.last_seen)],
            vec![Value::link(words, guests)],
            waiting,
            stored,
            refused,
            dropped,
        ];
        Row { tone: self.tone(), cells }
    }
}

fn count(n: u64, word: &str) -> Value {
    let text = format!("{n} {word}");
    if n == 0 { Value::number(text.trim_end()) } else { Value::badge(text.trim_end(), Tone::Warn) }
}

fn dropped(counters: &SpoolCounters) -> Vec<Value> {
    let it = counters.dropped;
    let all =
        [(it.crit, "CRIT"), (it.error, "ERROR"), (it.warn, "WARN"), (it.info, "INFO"), (it.debug, "DEBUG")];
    let some: Vec<Value> = all.into_iter().filter(|it| it.0 > 0).map(|it| count(it.0, it.1)).collect();
    if some.is_empty() { vec![Value::number("0")] } else { some }
}

/// The page of hosts.
///
/// # Errors
/// When the formatter fails, which it does not into a string.
pub fn hosts(software: &Software, lines: &[HostLine]) -> Result<String, RenderError> {
    let table = Table {
        caption: "Hosts and their spools".into(),
        head: vec![
            "host",
            "agent",
            "last heard of",
            "watches",
            "waiting",
            "stored here",
            "refused",
            "dropped",
        ],
        rows: lines.iter().map(HostLine::row).collect(),
        empty: "No agent has said hello so far.".into(),
    };
    let waiting: u64 =
        lines.iter().filter_map(|it| it.counters).fold(0, |sum, it| sum.saturating_add(it.waiting));
    let fixed = "<h1>Hosts</h1>\n<p class=\"lead\">What an agent cannot deliver waits in its spool. When the \
                 spool is full, the lowest severity is dropped first, the oldest within it.</p>\n";
    wrap(
        software,
        &Parts {
            here: Here::Hosts,
            title: "Hosts".into(),
            fixed: fixed.to_owned(),
            live: table.html()?,
            said: format!("{} hosts, {waiting} entries waiting", lines.len()).into(),
        },
    )
}
