//! `/static/NAME`: style sheets and scripts. Their names hold their hashes, so they never change.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use vmward_report_view::asset;

use crate::extract::Path;
use crate::problem::{Answer, Problem};

pub(super) async fn get(Path(name): Path<String>) -> Answer<Response> {
    let Some(asset) = asset::find(&name) else {
        return Err(Problem::not_found(format!(
            "there is no {name}; the page that names it is of another version"
        )));
    };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, asset.content).into_response())
}
