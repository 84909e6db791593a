//! The pages that people look at.

use axum::Router;

use crate::AppState;

/// Every page.
pub fn routes() -> Router<AppState> {
    Router::new()
}
