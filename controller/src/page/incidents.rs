//! `/incidents` and `/incidents/{id}`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde::de::value::{Error as BadValue, StrDeserializer};
use uuid::Uuid;
use vmward_model::exchange::HostId;
use vmward_model::{Class, GuestId, IncidentId, IncidentState, Severity};
use vmward_report_view::Href;
use vmward_report_view::page::{self, Choice, Field, Filter, IncidentView};

use super::answer::{self, software};
use super::{chart, rows};
use crate::AppState;
use crate::api::incidents::TEXT;
use crate::extract::{Path, Query};
use crate::problem::{Answer, Problem};
use crate::store::view::{HostRow, IncidentFilter, USUAL_ROWS};

/// What the form asks for; an empty text narrows nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    guest: String,
    host: String,
    class: String,
    state: String,
    severity: String,
    before: String,
}

/// Every state but the last.
const UNCLOSED: &str = "unclosed";
/// States as a reader calls them.
const STATES: [(&str, &str); 5] = [
    (UNCLOSED, "not closed"),
    ("open", "open, not examined"),
    ("examining", "being examined"),
    ("reported", "examined, goes on"),
    ("closed", "closed"),
];
/// Severities from the least on.
const SEVERITIES: [(&str, &str); 4] =
    [("INFO", "INFO or more"), ("WARN", "WARN or more"), ("ERROR", "ERROR or more"), ("CRIT", "CRIT")];

/// A value by its name in JSON; `None` for the empty text.
fn named<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Answer<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = T::deserialize(StrDeserializer::<BadValue>::new(text));
    read.map(Some).map_err(|_| Problem::bad(format!("no {what} is called {text:?}")))
}

impl Asked {
    fn filter(&self) -> Answer<IncidentFilter> {
        let text = self.q.trim();
        // SQLite gives up on a long pattern.
        if text.chars().count() > TEXT {
            return Err(Problem::bad(format!("the words to look for have more than {TEXT} characters")));
        }
        // What a reader calls open is whatever has not ended.
        let unclosed = self.state == UNCLOSED;
        let state = if unclosed { "" } else { self.state.as_str() };
        Ok(IncidentFilter {
            guest: named::<Uuid>("guest", &self.guest)?.map(GuestId),
            host: named::<Uuid>("host", &self.host)?.map(HostId),
            class: named::<Class>("class", &self.class)?,
            state: named::<IncidentState>("state", state)?,
            unclosed,
            severity: named::<Severity>("severity", &self.severity)?,
            text: (!text.is_empty()).then(|| text.to_owned()),
            before: named::<Uuid>("incident", &self.before)?.map(IncidentId),
            limit: USUAL_ROWS,
        })
    }

    fn form(&self, hosts: &[HostRow]) -> Filter {
        let choice = |value: &str, label: &str, asked: &str| Choice {
            value: value.into(),
            label: label.into(),
            chosen: value == asked,
        };
        let of = |all: &[(&str, &str)], asked: &str| all.iter().map(|it| choice(it.0, it.1, asked)).collect();
        let classes = Class::ALL.iter().filter(|it| **it != Class::Well);
        let host = |it: &HostRow| choice(&it.id.to_string(), &it.name, &self.host);
        Filter {
            action: "/incidents",
            fields: vec![
                Field::Text { name: "q", label: "guest, words or id", value: self.q.trim().into() },
                Field::Choice {
                    name: "class",
                    label: "class",
                    choices: classes.map(|it| choice(it.name(), it.name(), &self.class)).collect(),
                },
                Field::Choice { name: "state", label: "state", choices: of(&STATES, &self.state) },
                Field::Choice {
                    name: "severity",
                    label: "severity",
                    choices: of(&SEVERITIES, &self.severity),
                },
                Field::Choice { name: "host", label: "host", choices: hosts.iter().map(host).collect() },
            ],
        }
    }

    /// This list from its beginning, or after an incident.
    fn link(&self, before: &str) -> Href {
        Href::to("/incidents")
            .with("q", self.q.trim())
            .with("guest", &self.guest)
            .with("host", &self.host)
            .with("class", &self.class)
            .with("state", &self.state)
            .with("severity", &self.severity)
            .with("before", before)
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answer<Response> {
    let found = state.store.incidents(&asked.filter()?).await?;
    let hosts = state.store.hosts().await?;
    let lines: Vec<_> = found.rows.iter().map(rows::incident).collect();
    let older = found.next.as_deref().map(|it| asked.link(it));
    let newest = (!asked.before.is_empty()).then(|| asked.link(""));
    let form = asked.form(&hosts);
    answer::page(&headers, page::incidents(&software(), &form, &lines, older.as_ref(), newest.as_ref()))
}

pub(super) async fn one(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Answer<Response> {
    let detail = state.store.incident(IncidentId(id)).await?;
    let line = rows::incident(&detail.row);
    let (chart, note) = chart::of(&state, &detail).await;
    // A chart has the events that the agent saw; without one, what is here has to do.
    let events = match chart {
        Some(_) => Vec::new(),
        None => state.store.events_around(detail.row.guest, detail.row.opened).await?,
    };
    let events = events.iter().map(rows::event).collect();
    let view = IncidentView { line, chart, note: note.into(), events };
    answer::page(&headers, page::incident(&software(), &view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_leaves_empty_narrows_nothing() {
        let filter = Asked::default().filter().unwrap();
        assert_eq!(filter, IncidentFilter { limit: USUAL_ROWS, ..IncidentFilter::default() });
    }

    #[test]
    fn values_are_read_by_the_names_that_the_form_has() {
        for (state, _) in STATES {
            let filter = Asked { state: state.into(), ..Asked::default() }.filter().unwrap();
            assert!(filter.state.is_some() != filter.unclosed, "{state}");
        }
        for (severity, _) in SEVERITIES {
            assert!(named::<Severity>("severity", severity).unwrap().is_some());
        }
        for class in Class::ALL {
            assert_eq!(named::<Class>("class", class.name()).unwrap(), Some(*class));
        }
        assert_eq!(named::<Class>("class", "<b>").unwrap_err().status, 400);
    }

    #[test]
    fn the_next_page_is_of_the_same_list() {
        let asked = Asked { q: "a&b".into(), state: "closed".into(), ..Asked::default() };
        assert_eq!(asked.link("7").as_str(), "/incidents?q=a%26b&state=closed&before=7");
    }
}
