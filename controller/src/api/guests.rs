//! `/api/v1/guests`: the guests, and one of them.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_model::GuestId;

use crate::AppState;
use crate::extract::Path;
use crate::problem::{Answer, Problem};
use crate::store::view::GuestRow;

/// Guests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Guests {
    /// Each once for every host that told of it.
    pub guests: Vec<GuestRow>,
}

/// Every guest on every host, by name.
#[utoipa::path(
    get, path = "/api/v1/guests", tag = "reader",
    responses(
        (status = 200, description = "Guests",
            body = ref("#/components/schemas/Guests"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get_all(State(state): State<AppState>) -> Answer<axum::Json<Guests>> {
    Ok(axum::Json(Guests { guests: state.store.guests().await? }))
}

/// One guest, once for each host that told of it, the latest first.
#[utoipa::path(
    get, path = "/api/v1/guests/{id}", tag = "reader",
    params(("id" = uuid::Uuid, Path, description = "The guest")),
    responses(
        (status = 200, description = "The guest",
            body = ref("#/components/schemas/Guests"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get_one(State(state): State<AppState>, Path(id): Path<GuestId>) -> Answer<axum::Json<Guests>> {
    let guests = state.store.guest(id).await?;
    if guests.is_empty() {
        return Err(Problem::not_found(format!("there is no guest {id}")));
    }
    Ok(axum::Json(Guests { guests }))
}
