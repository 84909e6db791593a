//! `/api/v1/uploads/{sha256}`: artifacts, in pieces that go on where they were cut off, or whole.

use axum::extract::{Request, State};
use axum::http::header;
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;
use vmward_model::Digest;
use vmward_model::exchange::{ARTIFACT_RESUME, CAPABILITIES, UploadState};

use crate::AppState;
use crate::artifacts::UploadError;
use crate::extract::{Path, Query, body, is_slow};
use crate::problem::{Answer, Problem};

/// Which piece it is.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Bytes of the whole artifact.
    pub size: u64,
}

/// How much of an artifact is here.
#[utoipa::path(
    get, path = "/api/v1/uploads/{sha256}", tag = "agent",
    params(("sha256" = inline(crate::openapi::DigestParam), Path, description = "Name of the artifact")),
    responses(
        (status = 200, description = "How much is here",
            body = ref("#/components/schemas/UploadState"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(state): State<AppState>,
    Path(sha256): Path<Digest>,
) -> Answer<axum::Json<UploadState>> {
    let mut here = state.artifacts.upload_state(&sha256).await?;
    if !resumes() && !here.stored {
        here.offset = 0;
    }
    Ok(axum::Json(here))
}

/// Takes a piece of an artifact, or all of it where it begins at 0 and has `size` bytes. A piece
/// that is not the whole has at most `chunk_bytes`. Status 409 says with `offset` where to go on.
#[utoipa::path(
    put, path = "/api/v1/uploads/{sha256}", tag = "agent",
    params(("sha256" = inline(crate::openapi::DigestParam), Path, description = "Name of the artifact"), Piece),
    request_body(content = ref("#/components/schemas/Bytes"), content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It is on disk",
            body = ref("#/components/schemas/UploadState"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(state): State<AppState>,
    Path(sha256): Path<Digest>,
    Query(piece): Query<Piece>,
    request: Request,
) -> Answer<axum::Json<UploadState>> {
    let Piece { offset, size } = piece;
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length = told.and_then(|it| it.parse::<u64>().ok());
    let whole = offset == 0 && length == Some(size);
    if !whole && !resumes() {
        return Err(Problem::bad(
            "this controller takes an artifact only whole, with offset 0 and its length",
        ));
    }
    let done = if whole {
        let body = request.into_body().into_data_stream().map_err(|it| match is_slow(&it) {
            true => UploadError::Slow,
            false => UploadError::Cut(it.to_string()),
        });
        let here = state.artifacts.upload_whole(&sha256, size, body).await?;
        state.metrics.uploaded(size);
        here
    } else {
        let (bytes, _room) = body(&state.pieces, request, state.config.limits.chunk_bytes).await?;
        let count = bytes.len() as u64;
        let here = state.artifacts.upload_piece(&sha256, offset, size, bytes).await?;
        state.metrics.uploaded(count);
        here
    };
    Ok(axum::Json(done))
}

fn resumes() -> bool {
    CAPABILITIES.contains(&ARTIFACT_RESUME)
}
