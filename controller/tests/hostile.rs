//! Bundles that were made to harm, sent to `POST /api/v1/bundles` as their maker streams them: each is
//! refused with the bound that it passes, and leaves nothing behind.
//!
//! What a refusal costs is a figure of `cargo xtask bench hostile`, against the real process.
#![expect(clippy::unwrap_used, reason = "a test ends where something cannot be had")]

use std::io::Write;
use std::path::Path;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;
use vmward_bundle::sample::harmful::{self, Harm};
use vmward_controller::AppState;
use vmward_controller::config::Config;
use vmward_controller::router::router;
use vmward_model::exchange::{HostId, Receipt, ReportCommit};

async fn controller(data: &Path) -> Router {
    let config = Config { data: data.to_owned(), ..Config::default() };
    router(AppState::open(config).await.unwrap().0)
}

/// The body that a case writes, at the pace at which it is read.
fn streamed(case: Harm) -> Body {
    let (pieces, taken) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    struct Pieces(tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>);
    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let piece = Bytes::copy_from_slice(bytes);
            self.0.blocking_send(Ok(piece)).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    std::thread::spawn(move || drop(case.write(&mut Pieces(pieces))));
    Body::from_stream(futures_util::stream::unfold(taken, |mut taken| async {
        let piece = taken.recv().await?;
        Some((piece, taken))
    }))
}

async fn post(router: &Router, body: Body) -> (StatusCode, String, Value) {
    let request = Request::post("/api/v1/bundles").header(header::HOST, "127.0.0.1").body(body).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, serde_json::from_slice(&body).unwrap())
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_with_the_bound_that_it_passes_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let router = controller(dir.path()).await;
    for case in harmful::ALL.iter().filter(|it| !it.says.is_empty()) {
        let (status, kind, problem) = post(&router, streamed(*case)).await;
        assert!(matches!(status.as_u16(), 413 | 422), "{}: {status} {problem}", case.name);
        assert_eq!(kind, "application/problem+json", "{}", case.name);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(case.says), "{}: {detail}", case.name);
        for folder in ["artifacts", "work", "incoming"] {
            let left = files(&dir.path().join(folder));
            assert!(left.is_empty(), "{} left {left:?}", case.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_would_fill_the_memory_is_kept_and_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    let router = controller(dir.path()).await;
    let too_many =
        ["a case of nothing but small things", "a smaller one of the same kind", "a case nested without end"];
    for name in too_many {
        let case = harmful::ALL.iter().find(|it| it.name == name).unwrap();
        let (status, _, answer) = post(&router, streamed(*case)).await;
        assert!(status.is_success(), "{}: {status} {answer}", case.name);
        let request = format!("/api/v1/incidents/{}", answer["incident"].as_str().unwrap());
        let request = Request::get(request).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 8 << 20).await.unwrap();
        let shown: Value = serde_json::from_slice(&body).unwrap();
        assert!(shown["conclusion"].is_null(), "{}: {shown}", case.name);
        assert_ne!(shown["not_concluded"], "", "{}: it says why", case.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_one_is_stored_once_whoever_sends_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let router = controller(dir.path()).await;
    let (status, _, first) = post(&router, Body::from(harmful::harmless().unwrap())).await;
    assert_eq!((status, &first["duplicate"]), (StatusCode::CREATED, &Value::Bool(false)), "{first}");
    let stored = files(&dir.path().join("artifacts")).len();
    assert_eq!((stored as u64, first["artifacts"].as_u64()), (2, Some(2)));
    let (status, _, again) = post(&router, Body::from(harmful::harmless().unwrap())).await;
    assert_eq!((status, &again["duplicate"]), (StatusCode::OK, &Value::Bool(true)), "{again}");
    assert_eq!(again["incident"], first["incident"]);
    assert_eq!(files(&dir.path().join("artifacts")).len(), stored);
    assert!(files(&dir.path().join("work")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_itself_takes_over_what_was_carried_before_it_had_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { data: dir.path().to_owned(), ..Config::default() };
    let (state, _) = AppState::open(config).await.unwrap();
    let router = router(state.clone());
    let (_, _, carried) = post(&router, Body::from(harmful::harmless().unwrap())).await;
    let manifest = vmward_bundle::sample::manifest(&vmward_bundle::sample::CONTENTS);
    let incident = manifest.incident.id;
    let agent = HostId(uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0001));
    assert_ne!(carried["host"].as_str().unwrap(), agent.to_string());
    let commit = ReportCommit { host: agent, manifest, withheld: Vec::new() };
    let receipt = vmward_controller::ingest::report(&state, commit).await.unwrap();
    assert_eq!(receipt, Receipt::Duplicate, "nothing is there twice, and nothing is refused");
    assert_eq!(state.store.incident(incident).await.unwrap().row.host, agent);
    let (status, _, again) = post(&router, Body::from(harmful::harmless().unwrap())).await;
    assert_eq!((status, again["host"].as_str()), (StatusCode::OK, Some(&agent.to_string()[..])), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_the_peers_fault_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let router = controller(dir.path()).await;
    let whole = Bytes::from(harmful::harmless().unwrap());
    let half = whole.slice(..whole.len() / 2);
    let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    let (status, _, problem) = post(&router, Body::from_stream(futures_util::stream::iter(pieces))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(files(&dir.path().join("artifacts")).is_empty() && files(&dir.path().join("work")).is_empty());
}
