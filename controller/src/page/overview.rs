//! `/`: how the ward is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use vmward_model::IncidentState;
use vmward_report_view::page::{self, Overview};

use super::answer::{self, software};
use super::rows;
use crate::AppState;
use crate::problem::Answer;
use crate::store::view::{IncidentFilter, IncidentRow};

/// Open incidents shown.
const OPEN: u32 = 100;
/// Closed ones shown.
const CLOSED: u32 = 8;

pub(super) async fn get(State(state): State<AppState>, headers: HeaderMap) -> Answer<Response> {
    let guests = state.store.guests().await?;
    let hosts = state.store.hosts().await?;
    let mut open: Vec<IncidentRow> = Vec::new();
    for it in [IncidentState::Open, IncidentState::Examining, IncidentState::Reported] {
        open.extend(in_state(&state, it, OPEN).await?);
    }
    open.sort_by_key(|it| std::cmp::Reverse((it.opened, it.id)));
    let closed = in_state(&state, IncidentState::Closed, CLOSED).await?;
    let view = Overview {
        hosts: rows::hosts(&hosts, &guests),
        guests: guests.iter().map(rows::guest).collect(),
        open: open.iter().map(rows::incident).collect(),
        closed: closed.iter().map(rows::incident).collect(),
    };
    answer::page(&headers, page::overview(&software(), &view))
}

async fn in_state(state: &AppState, wanted: IncidentState, limit: u32) -> Answer<Vec<IncidentRow>> {
    let filter = IncidentFilter { state: Some(wanted), limit, ..IncidentFilter::default() };
    Ok(state.store.incidents(&filter).await?.rows)
}
