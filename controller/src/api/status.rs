//! `PUT /api/v1/hosts/{host}/guests`: how the guests of a host are.

use axum::extract::State;
use axum::http::StatusCode;
use vmward_model::exchange::{HostId, StatusPush};

use super::short;
use crate::AppState;
use crate::extract::{Json, Path};
use crate::live::Change;
use crate::problem::{Answer, Problem};

/// Most guests of a host.
const GUESTS: usize = 4096;
/// Most scenarios of a guest.
const SCENARIOS: usize = 256;

/// Takes what a host says of all its guests in place of what it said before.
#[utoipa::path(
    put, path = "/api/v1/hosts/{host}/guests", tag = "agent",
    params(("host" = uuid::Uuid, Path, description = "The host")),
    request_body(content = ref("#/components/schemas/StatusPush"), content_type = "application/json"),
    responses(
        (status = 204, description = "Taken"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(state): State<AppState>,
    Path(host): Path<HostId>,
    push: Json<StatusPush>,
) -> Answer<StatusCode> {
    let Json { value: push, room: _room } = push;
    short(&[&push.host_name])?;
    if push.guests.len() > GUESTS || push.guests.iter().any(|it| it.scenarios.len() > SCENARIOS) {
        let detail = format!("more than {GUESTS} guests, or {SCENARIOS} scenarios of one");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    for it in &push.guests {
        short(&[&it.name])?;
    }
    let changed = state.store.guests_status(host, &push).await?;
    for guest in changed {
        state.live.tell(Change::Guest { guest, host });
    }
    Ok(StatusCode::NO_CONTENT)
}
