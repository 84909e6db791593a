//! `PUT /api/v1/reports/{incident}`: a report whose artifacts were sent before.

use axum::extract::State;
use vmward_model::IncidentId;
use vmward_model::exchange::{Receipt, ReportCommit};

use crate::AppState;
use crate::extract::{Json, Path};
use crate::ingest;
use crate::problem::{Answer, Problem};

/// Takes a report, or says which of its artifacts are missing.
#[utoipa::path(
    put, path = "/api/v1/reports/{incident}", tag = "agent",
    params(("incident" = uuid::Uuid, Path, description = "The incident")),
    request_body(content = ref("#/components/schemas/ReportCommit"), content_type = "application/json"),
    responses(
        (status = 200, description = "What became of it",
            body = ref("#/components/schemas/Receipt"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(state): State<AppState>,
    Path(incident): Path<IncidentId>,
    commit: Json<ReportCommit>,
) -> Answer<axum::Json<Receipt>> {
    let Json { value: commit, room: _room } = commit;
    if commit.manifest.incident.id != incident {
        let detail = format!("the manifest is of incident {}, not {incident}", commit.manifest.incident.id);
        return Err(Problem::bad(detail));
    }
    Ok(axum::Json(ingest::report(&state, commit).await?))
}
