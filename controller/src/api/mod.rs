//! The HTTP API, one file a noun.

use utoipa_axum::router::OpenApiRouter;

use crate::AppState;

/// Every route of the API.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}
