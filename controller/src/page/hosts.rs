//! `/hosts`: agents and their spools.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use vmward_report_view::page;

use super::answer::{self, software};
use super::rows;
use crate::AppState;
use crate::problem::Answer;

pub(super) async fn get(State(state): State<AppState>, headers: HeaderMap) -> Answer<Response> {
    let guests = state.store.guests().await?;
    let hosts = state.store.hosts().await?;
    answer::page(&headers, page::hosts(&software(), &rows::hosts(&hosts, &guests)))
}
