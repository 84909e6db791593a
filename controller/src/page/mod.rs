//! The pages that people look at. `report-view` renders them; this brings it what the store has.

mod answer;
mod chart;
mod guests;
mod hosts;
mod incidents;
mod overview;
mod rows;
mod statics;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::get;

use crate::AppState;

pub use answer::errors;

/// Every page.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::get))
        .route("/guests", get(guests::list))
        .route("/guests/{id}", get(guests::one))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{id}", get(incidents::one))
        .route("/hosts", get(hosts::get))
        .route("/static/{name}", get(statics::get))
}
