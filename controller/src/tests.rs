//! The router as a whole: each noun, and each error as a problem.

mod errors;
mod guarded;
mod nouns;
mod reports;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::AppState;
use crate::config::Config;
use crate::router::router;

/// A controller in a folder of its own.
struct Ward {
    dir: tempfile::TempDir,
    state: AppState,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|it| panic!("{it}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// Checks that it is a problem of this status, and gives its detail.
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(
            (json["status"].as_u64(), json["type"].as_str()),
            (Some(status.into()), Some("about:blank"))
        );
        json["detail"].as_str().unwrap().to_owned()
    }
}

impl Ward {
    async fn new() -> Ward {
        Ward::with("").await
    }

    async fn with(config: &str) -> Ward {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::parse(config).unwrap();
        config.data = dir.path().to_owned();
        let (state, _) = AppState::open(config).await.unwrap();
        Ward { dir, router: router(state.clone()), state }
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(request(Method::GET, path, Body::empty())).await
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Answered {
        let mut request = request(method, path, Body::from(serde_json::to_vec(body).unwrap()));
        request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        self.send(request).await
    }

    async fn put(&self, path: &str, bytes: &[u8]) -> Answered {
        let mut request = request(Method::PUT, path, Body::from(bytes.to_vec()));
        request.headers_mut().insert(header::CONTENT_LENGTH, bytes.len().into());
        self.send(request).await
    }

    /// Sends an artifact whole.
    async fn artifact(&self, bytes: &[u8]) {
        let path = format!("/api/v1/uploads/{}?offset=0&size={}", crate::sample::digest(bytes), bytes.len());
        assert_eq!(self.put(&path, bytes).await.json()["stored"], true);
    }
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:8471").body(body).unwrap()
}
