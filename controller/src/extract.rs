//! Takes requests apart, with a problem for whatever is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::AppState;
use crate::problem::Problem;

/// How long a body waits until others have been dealt with.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of a refused body is still read: bytes and time.
const DRAIN: (usize, Duration) = (16 << 20, Duration::from_secs(2));

/// Room for a body in memory; given back when dropped.
#[derive(Debug)]
pub struct Room {
    _held: OwnedSemaphorePermit,
}

impl Room {
    /// For a body of the request's length, or of at most `limit` bytes where that is not told.
    async fn wait(room: &Arc<Semaphore>, parts: &Parts, limit: u64) -> Result<Room, Problem> {
        let told = parts.headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let length = told.and_then(|it| it.parse::<u64>().ok()).unwrap_or(limit);
        if length > limit {
            return Err(too_large(limit));
        }
        let kib = u32::try_from(length.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let wait = room.clone().acquire_many_owned(kib);
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(held)) => Ok(Room { _held: held }),
            _ => Err(Problem::busy("too many bodies are in memory at once")),
        }
    }
}

/// A whole body of at most `limit` bytes, and the room that it takes.
///
/// # Errors
/// When it is larger, comes too slowly or not to its end, or there is no room for it.
pub async fn body(room: &Arc<Semaphore>, request: Request, limit: u64) -> Result<(Bytes, Room), Problem> {
    let (parts, body) = request.into_parts();
    let room = match Room::wait(room, &parts, limit).await {
        Ok(it) => it,
        Err(problem) => {
            drain(body).await;
            return Err(problem);
        }
    };
    let mut request = Request::from_parts(parts, body);
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    axum::extract::DefaultBodyLimit::max(most).apply(&mut request);
    match Bytes::from_request(request, &()).await {
        Ok(it) => Ok((it, room)),
        Err(error) => Err(unread(&error, limit)),
    }
}

/// Reads on for a moment without keeping anything: an answer that comes before the end of the question
/// is lost where the connection is reset.
async fn drain(body: Body) {
    let mut body = body.into_data_stream();
    let mut left = DRAIN.0;
    // Giving up is as good as the end.
    let _ = tokio::time::timeout(DRAIN.1, async {
        while let Some(Ok(piece)) = body.next().await {
            match left.checked_sub(piece.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    })
    .await;
}

fn too_large(limit: u64) -> Problem {
    let detail = format!("the body is larger than the {limit} bytes that are taken here");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn unread(error: &BytesRejection, limit: u64) -> Problem {
    if is_slow(error) {
        return slow();
    }
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(limit);
    }
    Problem::bad("the body did not come to its end")
}

/// Whether a body was given up because nothing came.
pub fn is_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(it) = next {
        if it.is::<tower_http::timeout::TimeoutError>() {
            return true;
        }
        next = it.source();
    }
    false
}

/// The peer is too slow.
pub fn slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not come in time")
}

/// A JSON body.
#[derive(Debug)]
pub struct Json<T> {
    /// What it says.
    pub value: T,
    /// Kept until the request is dealt with.
    pub room: Room,
}

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Json<T>, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        // A page of another site can send any other type without asking first.
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail = "the body has to be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let (bytes, room) = body(&state.bodies, request, state.config.limits.body_bytes).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Json { value, room }),
            Err(error) if error.is_data() => {
                let detail = format!("the body is JSON but not what belongs here: {error}");
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
            }
            Err(error) => Err(Problem::bad(format!("the body is no JSON: {error}"))),
        }
    }
}

/// The query of a URL.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Query<T>, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(it) => Ok(Query(it.0)),
            Err(error) => Err(Problem::bad(error.body_text())),
        }
    }
}

/// What stands in the path of a URL.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Path<T>, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(it) => Ok(Path(it.0)),
            Err(error) => Err(Problem::bad(error.body_text())),
        }
    }
}
