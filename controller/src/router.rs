//! Puts API and pages together.

use axum::Router;

use crate::{AppState, api, page};

/// Everything that is served.
pub fn router(state: AppState) -> Router {
    let (api, _document) = api::routes().split_for_parts();
    api.merge(page::routes()).with_state(state)
}
