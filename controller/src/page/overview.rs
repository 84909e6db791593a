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
use crate::store::view::IncidentFilter;

/// Open incidents shown.
const OPEN: u32 = 100;
/// Closed ones shown.
const CLOSED: u32 = 8;

pub(super) async fn get(State(state): State<AppState>, headers: HeaderMap) -> Answer<Response> {
    let guests = state.store.guests().await?;
    let hosts = state.store.hosts().await?;
    let wanted = IncidentFilter { unclosed: true, limit: OPEN, ..IncidentFilter::default() };
    let mut open = state.store.incidents(&wanted).await?.rows;
    open.sort_by_key(|it| std::cmp::Reverse((it.opened, it.id)));
    let closed = Some(IncidentState::Closed);
    let wanted = IncidentFilter { state: closed, limit: CLOSED, ..IncidentFilter::default() };
    let closed = state.store.incidents(&wanted).await?.rows;
    let view = Overview {
        hosts: rows::hosts(&hosts, &guests),
        guests: guests.iter().map(rows::guest).collect(),
        open: open.iter().map(rows::incident).collect(),
        closed: closed.iter().map(rows::incident).collect(),
    };
    answer::page(&headers, page::overview(&software(), &view))
}
