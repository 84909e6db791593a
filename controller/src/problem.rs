//! Errors as `application/problem+json` (RFC 9457).

use std::error::Error;
use std::io::ErrorKind;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifacts::{ArtifactError, UploadError};
use crate::store::StoreError;

/// Seconds after which to come again where nothing better is known.
const SOON: u64 = 5;
/// The same where somebody has to make room first.
const LATER: u64 = 30;

/// An error that a peer is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
pub struct Problem {
    /// Kind of problem: always `about:blank`, so that `title` goes by the status.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, in a sentence.
    pub detail: String,
    /// With status 409 to an upload: bytes that are here; the next piece begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Seconds after which trying again makes sense; also as header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What a handler gives back.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// One with a status and a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            offset: None,
            retry_after: None,
        }
    }

    /// What was asked makes no sense.
    pub fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// The disk is full.
    pub fn full() -> Problem {
        let detail = "the controller's disk is full; nothing of this request was kept";
        Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail).after(LATER)
    }

    /// Too much at once.
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(SOON)
    }

    /// Something broke that the peer cannot mend. What it was goes to the log alone.
    pub fn broke(error: &dyn std::fmt::Display) -> Problem {
        tracing::error!("a request failed: {error}");
        let detail = "something broke in the controller; its log says what";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// The same, with when to come again.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Problem {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Whether there is a full disk at the bottom of an error.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(it) = next {
        if let Some(io) = it.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            )
        {
            return true;
        }
        next = it.source();
    }
    false
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Full => Problem::full(),
            StoreError::NotFound { .. } => Problem::not_found(error.to_string()),
            StoreError::Asked(why) => Problem::bad(why),
            StoreError::Database(sqlx::Error::PoolTimedOut) => Problem::busy("the database is busy"),
            StoreError::Database(sqlx::Error::Database(it)) if it.code().as_deref() == Some("5") => {
                Problem::busy("another program holds the database")
            }
            other => Problem::broke(&other),
        }
    }
}

impl From<ArtifactError> for Problem {
    fn from(error: ArtifactError) -> Problem {
        match error {
            ArtifactError::Full => Problem::full(),
            ArtifactError::Store(it) => it.into(),
            ArtifactError::NotFound(_) => Problem::not_found(error.to_string()),
            ArtifactError::Mismatch { .. } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; nothing of it was kept"))
            }
            ArtifactError::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            other if is_full(&other) => Problem::full(),
            other => Problem::broke(&other),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Problem {
        let detail = error.to_string();
        match error {
            UploadError::Offset { offset } => {
                let problem = Problem::new(StatusCode::CONFLICT, detail);
                Problem { offset: Some(offset), ..problem }
            }
            UploadError::Beyond { .. } | UploadError::Cut(_) => Problem::bad(detail),
            UploadError::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            UploadError::Crowded { .. } => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, detail).after(LATER)
            }
            UploadError::Slow => Problem::new(StatusCode::REQUEST_TIMEOUT, detail),
            UploadError::Artifact(it) => it.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_at_the_bottom_of_an_error() {
        let io = std::io::Error::from_raw_os_error(28);
        let deep = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(io) };
        assert_eq!(Problem::from(ArtifactError::from(deep)).status, 507);
    }

    #[test]
    fn a_problem_says_when_to_come_again_in_header_and_body() {
        let response = Problem::full().into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "30");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
