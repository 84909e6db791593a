//! The HTTP API, one file a noun.

pub mod artifacts;
pub mod bundles;
pub mod entries;
pub mod events;
pub mod guests;
pub mod health;
pub mod hello;
pub mod hosts;
pub mod incidents;
pub mod live;
pub mod login;
pub mod reports;
pub mod status;
pub mod uploads;

use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::AppState;
use crate::problem::{Answer, Problem};

/// Every route of the API.
pub fn routes() -> OpenApiRouter<AppState> {
    let routes = OpenApiRouter::new()
        .routes(routes!(hello::post))
        .routes(routes!(uploads::get, uploads::put))
        .routes(routes!(events::get, events::post))
        .routes(routes!(reports::put))
        .routes(routes!(bundles::import))
        .routes(routes!(hosts::get))
        .routes(routes!(guests::get_all))
        .routes(routes!(guests::get_one))
        .routes(routes!(incidents::get_all))
        .routes(routes!(incidents::get_one))
        .routes(routes!(incidents::get_manifest))
        .routes(routes!(artifacts::get))
        .routes(routes!(live::get))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
        .routes(routes!(login::form, login::post))
        .routes(routes!(login::out));
    #[cfg(not(feature = "older-peer"))]
    let routes = routes.routes(routes!(entries::post)).routes(routes!(status::put));
    routes
}

/// Refuses more entries than one call may hold.
fn few(count: usize, state: &AppState) -> Answer<()> {
    let limit = state.config.limits.batch_entries;
    if count as u64 > limit {
        let detail = format!("{count} entries in one call are more than the {limit} that are taken");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(())
}

/// Refuses names that nobody would read to their end.
fn short(names: &[&str]) -> Answer<()> {
    if names.iter().any(|it| it.len() > crate::ingest::NAME_BYTES) {
        let detail = format!("a name has more than {} bytes", crate::ingest::NAME_BYTES);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(())
}

/// How many rows are wanted.
fn rows(limit: Option<u32>) -> Answer<u32> {
    use crate::store::view::{MAX_ROWS, USUAL_ROWS};
    match limit.unwrap_or(USUAL_ROWS) {
        it @ 1..=MAX_ROWS => Ok(it),
        it => Err(Problem::bad(format!("limit is {it}, and has to be from 1 to {MAX_ROWS}"))),
    }
}
