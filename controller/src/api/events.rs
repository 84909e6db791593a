//! `/api/v1/events`: what happened.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;
use vmward_model::exchange::{EventBatch, EventsStored, HostId, Receipt};
use vmward_model::{GuestId, Severity};

use super::{few, rows, short};
use crate::AppState;
use crate::extract::{Json, Query};
use crate::ingest;
use crate::problem::Answer;
use crate::store::view::{EventFilter, EventRow, Page};

/// Which events are wanted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Of this guest.
    pub guest: Option<Uuid>,
    /// Of this host.
    pub host: Option<Uuid>,
    /// Of at least this severity.
    #[param(schema_with = crate::openapi::severity)]
    pub severity: Option<Severity>,
    /// The page after the one whose `next` this was.
    #[param(pattern = "^-?[0-9]{1,18}_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_[0-9]{1,18}$")]
    pub before: Option<String>,
    /// At most so many rows; 50 where nobody says.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Events, newest first.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "reader", params(Wanted),
    responses(
        (status = 200, description = "Events",
            body = ref("#/components/schemas/EventRowPage"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Answer<axum::Json<Page<EventRow>>> {
    let filter = EventFilter {
        guest: wanted.guest.map(GuestId),
        host: wanted.host.map(HostId),
        severity: wanted.severity,
        before: wanted.before,
        limit: rows(wanted.limit)?,
    };
    Ok(axum::Json(state.store.events(&filter).await?))
}

/// Takes events; all of them are on disk when this answers.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "agent",
    request_body(content = ref("#/components/schemas/EventBatch"), content_type = "application/json"),
    responses(
        (status = 200, description = "All are on disk",
            body = ref("#/components/schemas/EventsStored"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn post(
    State(state): State<AppState>,
    batch: Json<EventBatch>,
) -> Answer<axum::Json<EventsStored>> {
    let Json { value: batch, room: _room } = batch;
    short(&[&batch.host_name])?;
    few(batch.events.len(), &state)?;
    let receipts = ingest::events(&state, batch.host, &batch.host_name, batch.events).await?;
    let count = |wanted: &Receipt| receipts.iter().filter(|it| *it == wanted).count() as u64;
    let (stored, duplicates) = (count(&Receipt::Stored), count(&Receipt::Duplicate));
    Ok(axum::Json(EventsStored { stored, duplicates }))
}
