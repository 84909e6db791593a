//! `/healthz`, `/readyz`, `/metrics` and the OpenAPI document.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::AppState;
use crate::metrics::Looked;
use crate::problem::{Answer, Problem};

/// How it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Program and version.
    pub software: String,
}

fn ok() -> axum::Json<Health> {
    axum::Json(Health { status: "ok".to_owned(), software: crate::SOFTWARE.to_owned() })
}

/// The controller runs.
#[utoipa::path(
    get, path = "/healthz", tag = "operator", security(()),
    responses(
        (status = 200, description = "It runs",
            body = ref("#/components/schemas/Health"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn healthz() -> axum::Json<Health> {
    ok()
}

/// The controller can take something: database and folder can be written.
#[utoipa::path(
    get, path = "/readyz", tag = "operator", security(()),
    responses(
        (status = 200, description = "It can",
            body = ref("#/components/schemas/Health"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(state): State<AppState>) -> Answer<axum::Json<Health>> {
    // Nobody is let in while it is being stopped.
    if *state.stop.borrow() {
        return Err(Problem::busy("the controller stops"));
    }
    state.store.ready().await?;
    state.artifacts.ready().await?;
    Ok(ok())
}

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operator",
    responses(
        (status = 200, description = "Figures in the OpenMetrics format", body = String,
            content_type = "application/openmetrics-text"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn metrics(State(state): State<AppState>) -> Answer<impl IntoResponse> {
    let (artifacts, artifact_bytes) = state.store.artifact_totals().await?;
    let hosts = state.store.hosts().await?;
    let incoming_bytes = state.artifacts.incoming_bytes();
    let looked = Looked { hosts, artifacts, artifact_bytes, incoming_bytes };
    let text = state.metrics.text(&looked).map_err(|it| Problem::broke(&it))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operator", security(()),
    responses((status = 200, description = "The OpenAPI document", body = serde_json::Value,
        content_type = "application/json"))
)]
pub async fn openapi() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| crate::openapi::document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())
}
