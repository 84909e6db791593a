//! `GET /api/v1/artifacts/{sha256}`: an artifact as it was taken, to be saved and never shown: it
//! may be whatever a guest wanted it to be.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use vmward_model::Digest;

use crate::AppState;
use crate::extract::Path;
use crate::problem::Answer;

/// The bytes of an artifact.
#[utoipa::path(
    get, path = "/api/v1/artifacts/{sha256}", tag = "reader",
    params(("sha256" = inline(crate::openapi::DigestParam), Path, description = "Name of the artifact")),
    responses(
        (status = 200, description = "Its bytes",
            body = ref("#/components/schemas/Bytes"), content_type = "application/octet-stream"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get(State(state): State<AppState>, Path(sha256): Path<Digest>) -> Answer<impl IntoResponse> {
    let (size, bytes) = state.artifacts.stream(&sha256).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{sha256}\"")),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
        // Its name is its content.
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable".to_owned()),
    ];
    Ok((headers, Body::from_stream(bytes)))
}
