//! `POST /api/v2/entries`: entries of a spool, each with a receipt, and how the spool stands.

use axum::extract::State;
use vmward_model::exchange::{EntryBatch, EntryReceipts};

use super::{few, short};
use crate::AppState;
use crate::extract::Json;
use crate::ingest;
use crate::problem::Answer;

/// Takes entries; those whose receipt says `stored` or `duplicate` are on disk when this answers.
#[utoipa::path(
    post, path = "/api/v2/entries", tag = "agent",
    request_body(content = ref("#/components/schemas/EntryBatch"), content_type = "application/json"),
    responses(
        (status = 200, description = "What became of each",
            body = ref("#/components/schemas/EntryReceipts"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn post(
    State(state): State<AppState>,
    batch: Json<EntryBatch>,
) -> Answer<axum::Json<EntryReceipts>> {
    let Json { value: batch, room: _room } = batch;
    short(&[&batch.host_name])?;
    few(batch.entries.len(), &state)?;
    let bodies = batch.entries.into_iter().map(|it| it.body).collect();
    let receipts = ingest::entries(&state, batch.host, &batch.host_name, &batch.counters, bodies).await?;
    Ok(axum::Json(EntryReceipts { receipts }))
}
