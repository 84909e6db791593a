//! `GET /api/v1/hosts`: the hosts that run an agent.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::AppState;
use crate::problem::Answer;
use crate::store::view::HostRow;

/// Every host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    /// By name.
    pub hosts: Vec<HostRow>,
}

/// Every host, with how much of its spool is stored here and how the spool stands.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "reader",
    responses(
        (status = 200, description = "Hosts",
            body = ref("#/components/schemas/Hosts"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get(State(state): State<AppState>) -> Answer<axum::Json<Hosts>> {
    Ok(axum::Json(Hosts { hosts: state.store.hosts().await? }))
}
