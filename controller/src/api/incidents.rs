//! `/api/v1/incidents`: what went wrong, and one of them with its manifest.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;
use vmward_model::exchange::HostId;
use vmward_model::{Class, GuestId, IncidentId, IncidentState, Severity};

use super::rows;
use crate::AppState;
use crate::extract::{Path, Query};
use crate::problem::{Answer, Problem};
use crate::store::view::{IncidentDetail, IncidentFilter, IncidentRow, Page};

/// Longest text that is searched for, in characters.
pub const TEXT: usize = 200;

/// Which incidents are wanted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Of this guest.
    pub guest: Option<Uuid>,
    /// Of this host.
    pub host: Option<Uuid>,
    /// Of this class, by the host or by this controller.
    #[param(schema_with = crate::openapi::class)]
    pub class: Option<Class>,
    /// In this state.
    #[param(schema_with = crate::openapi::state)]
    pub state: Option<IncidentState>,
    /// Of at least this severity.
    #[param(schema_with = crate::openapi::severity)]
    pub severity: Option<Severity>,
    /// With this in its guest's name, its summary, its scenario or its id, whatever the case.
    #[param(max_length = 200)]
    pub text: Option<String>,
    /// Older than this incident: the page after the one whose `next` this was.
    pub before: Option<Uuid>,
    /// At most so many rows; 50 where nobody says.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Incidents, newest first.
#[utoipa::path(
    get, path = "/api/v1/incidents", tag = "reader", params(Wanted),
    responses(
        (status = 200, description = "Incidents",
            body = ref("#/components/schemas/IncidentRowPage"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get_all(
    State(state): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Answer<axum::Json<Page<IncidentRow>>> {
    if wanted.text.as_ref().is_some_and(|it| it.chars().count() > TEXT) {
        return Err(Problem::bad(format!("text has more than {TEXT} characters")));
    }
    let filter = IncidentFilter {
        guest: wanted.guest.map(GuestId),
        host: wanted.host.map(HostId),
        class: wanted.class,
        state: wanted.state,
        unclosed: false,
        severity: wanted.severity,
        text: wanted.text,
        before: wanted.before.map(IncidentId),
        limit: rows(wanted.limit)?,
    };
    Ok(axum::Json(state.store.incidents(&filter).await?))
}

/// One incident: its manifest, what stayed on the host, and what this controller's engine says.
#[utoipa::path(
    get, path = "/api/v1/incidents/{id}", tag = "reader",
    params(("id" = Uuid, Path, description = "The incident")),
    responses(
        (status = 200, description = "The incident",
            body = ref("#/components/schemas/IncidentDetail"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get_one(
    State(state): State<AppState>,
    Path(id): Path<IncidentId>,
) -> Answer<axum::Json<IncidentDetail>> {
    Ok(axum::Json(state.store.incident(id).await?))
}

/// The manifest of an incident's report, as the host wrote it.
#[utoipa::path(
    get, path = "/api/v1/incidents/{id}/manifest", tag = "reader",
    params(("id" = Uuid, Path, description = "The incident")),
    responses(
        (status = 200, description = "The manifest",
            body = ref("#/components/schemas/Manifest"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get_manifest(
    State(state): State<AppState>,
    Path(id): Path<IncidentId>,
) -> Answer<impl IntoResponse> {
    let manifest = state.store.manifest(id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], manifest))
}
