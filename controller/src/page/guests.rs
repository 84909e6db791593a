//! `/guests` and `/guests/{id}`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use uuid::Uuid;
use vmward_model::{GuestId, GuestState};
use vmward_report_view::page::{self, Choice, Field, Filter, GuestView};

use super::answer::{self, software};
use super::rows;
use crate::AppState;
use crate::extract::{Path, Query};
use crate::problem::{Answer, Problem};
use crate::store::view::{EventFilter, GuestRow, IncidentFilter};

/// Incidents and events shown of one guest.
const OF_ONE: u32 = 50;

/// What the form asks for. Nothing in it can be wrong: what no guest has, no guest is shown for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    state: String,
    host: String,
}

/// The guest's state as it is written in a query.
fn name_of(state: GuestState) -> String {
    serde_json::to_value(state).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Asked {
    fn wants(&self, row: &GuestRow) -> bool {
        let text = self.q.trim().to_lowercase();
        let state = match self.state.as_str() {
            "" => true,
            "trouble" => row.open_incident.is_some(),
            other => row.present && name_of(row.state) == other,
        };
        state
            && (self.host.is_empty() || row.host.to_string() == self.host)
            && (row.name.to_lowercase().contains(&text) || row.id.to_string().contains(&text))
    }

    fn form(&self, rows: &[GuestRow]) -> Filter {
        let choice = |value: String, label: &str, asked: &str| Choice {
            chosen: value == asked,
            value: value.into(),
            label: label.into(),
        };
        let mut states = vec![choice("trouble".into(), "in trouble", &self.state)];
        states.extend(GuestState::ALL.map(|it| {
            let name = name_of(it);
            let label = name.replace('-', " ");
            choice(name, &label, &self.state)
        }));
        let mut hosts: Vec<(&str, String)> =
            rows.iter().map(|it| (it.host_name.as_str(), it.host.to_string())).collect();
        hosts.sort();
        hosts.dedup();
        let hosts = hosts.into_iter().map(|(name, id)| choice(id, name, &self.host)).collect();
        Filter {
            action: "/guests",
            fields: vec![
                Field::Text { name: "q", label: "name or id", value: self.q.trim().into() },
                Field::Choice { name: "state", label: "state", choices: states },
                Field::Choice { name: "host", label: "host", choices: hosts },
            ],
        }
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Answer<Response> {
    let guests = state.store.guests().await?;
    let lines: Vec<_> = guests.iter().filter(|it| asked.wants(it)).map(rows::guest).collect();
    answer::page(&headers, page::guests(&software(), &asked.form(&guests), &lines))
}

pub(super) async fn one(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Answer<Response> {
    let guest = GuestId(id);
    let lines = state.store.guest(guest).await?;
    let filter = IncidentFilter { guest: Some(guest), limit: OF_ONE, ..IncidentFilter::default() };
    let incidents = state.store.incidents(&filter).await?.rows;
    if lines.is_empty() && incidents.is_empty() {
        return Err(Problem::not_found(format!("there is no guest {guest}")));
    }
    let events = EventFilter { guest: Some(guest), limit: OF_ONE, ..EventFilter::default() };
    let events = state.store.events(&events).await?.rows;
    let view = GuestView {
        name: match (lines.first(), incidents.first()) {
            (Some(it), _) => (&it.name).into(),
            (None, Some(it)) => (&it.guest_name).into(),
            (None, None) => guest.to_string().into(),
        },
        lines: lines.iter().map(rows::guest).collect(),
        incidents: incidents.iter().map(rows::incident).collect(),
        events: events.iter().map(rows::event).collect(),
    };
    answer::page(&headers, page::guest(&software(), &view))
}
