//! Every error is a problem, whoever notices it.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, header};
use axum::routing::get;
use futures_util::stream;
use serde_json::json;
use tower::ServiceExt as _;

use super::{Ward, request};
use crate::sample::{digest, host, note};

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let ward = Ward::new().await;
    ward.get("/no/such/thing").await.problem(404);
    let nobody = "00000000-0000-0000-0000-000000000000";
    for path in [
        format!("/api/v1/incidents/{nobody}"),
        format!("/api/v1/incidents/{nobody}/manifest"),
        format!("/api/v1/guests/{nobody}"),
        format!("/api/v1/artifacts/{}", digest(b"nothing")),
    ] {
        let detail = ward.get(&path).await.problem(404);
        assert!(detail.contains("there is no"), "{detail}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_meant_is_a_problem_and_says_which_are() {
    let ward = Ward::new().await;
    let answer = ward.send(request(Method::DELETE, "/api/v1/incidents", Body::empty())).await;
    answer.problem(405);
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_path_or_query_that_makes_no_sense_is_a_problem() {
    let ward = Ward::new().await;
    for path in [
        "/api/v1/incidents/not-a-uuid",
        "/api/v1/artifacts/..%2f..%2fetc%2fpasswd",
        "/api/v1/artifacts/%ff",
        "/api/v1/incidents?class=no-such-class",
        "/api/v1/incidents?limit=0",
        "/api/v1/incidents?limit=501",
        "/api/v1/incidents?limit=-1",
        "/api/v1/incidents?unknown=1",
        "/api/v1/incidents?guest=1",
        "/api/v1/events?before=nonsense",
        "/api/v1/events?severity=LOUD",
    ] {
        ward.get(path).await.problem(400);
    }
    let long = format!("/api/v1/incidents?text={}", "x".repeat(201));
    ward.get(&long).await.problem(400);
    let upload = format!("/api/v1/uploads/{}", digest(b""));
    ward.put(&format!("{upload}?offset=0"), b"").await.problem(400);
    ward.put(&format!("{upload}?offset=18446744073709551615&size=5"), b"x").await.problem(400);
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_a_problem() {
    let ward = Ward::new().await;
    let post = async |kind: Option<&str>, body: &str| {
        let mut request = request(Method::POST, "/api/hello", Body::from(body.to_owned()));
        if let Some(kind) = kind {
            request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        ward.send(request).await
    };
    post(None, "{}").await.problem(415);
    post(Some("text/plain"), "{}").await.problem(415);
    post(Some("application/json"), "{").await.problem(400);
    post(Some("application/json"), &format!("{{\"unknown\":{}", "[".repeat(100_000))).await.problem(400);
    let detail = post(Some("application/json; charset=utf-8"), "{}").await.problem(422);
    assert!(detail.contains("missing field"), "{detail}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_problem_told_or_not() {
    let ward = Ward::with("[limits]\nbody_bytes = 65536\nchunk_bytes = 4096\nartifact_bytes = 65536\n").await;
    let vast = vec![b' '; 70_000];
    let mut told = request(Method::POST, "/api/hello", Body::from(vast.clone()));
    told.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    told.headers_mut().insert(header::CONTENT_LENGTH, 70_000.into());
    ward.send(told).await.problem(413);
    let pieces = stream::iter(
        vast.chunks(1000).map(|it| Ok::<_, String>(Bytes::copy_from_slice(it))).collect::<Vec<_>>(),
    );
    let mut untold = request(Method::POST, "/api/hello", Body::from_stream(pieces));
    untold.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    ward.send(untold).await.problem(413);
    let upload = format!("/api/v1/uploads/{}", digest(b"x"));
    if !cfg!(feature = "older-peer") {
        ward.put(&format!("{upload}?offset=0&size=60000"), &vast[..5000]).await.problem(413);
    }
    ward.put(&format!("{upload}?offset=0&size=70000"), &vast).await.problem(413);
    let form = request(Method::POST, "/login", Body::from(vec![b'x'; 70_000]));
    assert_eq!(ward.send(form).await.status.as_u16() / 100, 4);
}

#[tokio::test]
async fn a_batch_with_too_many_or_with_one_that_makes_no_sense_is_a_problem() {
    let ward = Ward::with("[limits]\nbatch_entries = 2\n").await;
    let batch = |events| json!({ "host": host(1), "host_name": "alpha", "events": events });
    let post = async |body| ward.json(Method::POST, "/api/v1/events", &body).await;
    post(batch(json!([note(1), note(2), note(3)]))).await.problem(413);
    let mut strange = note(2);
    strange.seq = u64::MAX;
    let detail = post(batch(json!([note(1), strange]))).await.problem(422);
    assert!(detail.contains("18446744073709551615"), "{detail}");
    assert_eq!(ward.get("/api/v1/events").await.json()["rows"], json!([]), "none of the batch was kept");
    let mut long = batch(json!([]));
    long["host_name"] = json!("x".repeat(2000));
    post(long).await.problem(422);
}

#[tokio::test]
async fn wrong_content_is_a_problem() {
    let ward = Ward::new().await;
    let upload = format!("/api/v1/uploads/{}?offset=0&size=3", digest(b"abc"));
    let detail = ward.put(&upload, b"abd").await.problem(422);
    assert!(detail.contains("another digest"), "{detail}");
    ward.put(&upload, b"abc").await;
    assert_eq!(ward.get(&format!("/api/v1/artifacts/{}", digest(b"abc"))).await.body, b"abc");
}

#[tokio::test]
async fn a_panic_is_a_problem() {
    async fn broken() {
        panic!("a mistake of ours")
    }
    let broken: Router = Router::new().route("/", get(broken)).layer(crate::router::catch_panic());
    let response = broken.oneshot(request(Method::GET, "/", Body::empty())).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    assert!(!String::from_utf8(body.to_vec()).unwrap().contains("a mistake"), "that is for the log");
}

#[tokio::test]
async fn a_body_that_never_comes_is_a_problem() {
    let ward = Ward::with("[limits]\nidle_seconds = 1\n").await;
    let mut slow =
        request(Method::POST, "/api/hello", Body::from_stream(stream::pending::<Result<Bytes, String>>()));
    slow.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    ward.send(slow).await.problem(408);
    let upload = format!("/api/v1/uploads/{}?offset=0&size=3", digest(b"abc"));
    let mut slow =
        request(Method::PUT, &upload, Body::from_stream(stream::pending::<Result<Bytes, String>>()));
    slow.headers_mut().insert(header::CONTENT_LENGTH, 3.into());
    ward.send(slow).await.problem(408);
    assert_eq!(ward.state.artifacts.incoming_bytes(), 0);
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_again() {
    let ward = Ward::with("[limits]\nrequests_per_second = 1\nrequests_burst = 3\n").await;
    for _ in 0..3 {
        assert_eq!(ward.get("/healthz").await.status, 200);
    }
    let answer = ward.get("/healthz").await;
    answer.problem(429);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn more_than_may_be_worked_on_is_a_problem() {
    let ward = Ward::with("[limits]\nconcurrent_requests = 1\nlive_readers = 1\nrequest_seconds = 1\n").await;
    let place = ward.state.places.clone().acquire_owned().await.unwrap();
    ward.get("/healthz").await.problem(503);
    drop(place);
    let place = ward.state.live_places.clone().acquire_owned().await.unwrap();
    ward.get("/api/v1/live").await.problem(503);
    drop(place);
    let place = ward.state.senders.clone().acquire_many_owned(4).await.unwrap();
    ward.json(Method::POST, "/api/hello", &json!({})).await.problem(503);
    assert_eq!(ward.get("/healthz").await.status, 200, "who sends keeps out nobody who reads");
    drop(place);
}

#[tokio::test]
async fn a_login_that_never_comes_keeps_out_nobody() {
    let ward = Ward::with("[limits]\nconcurrent_requests = 1\n").await;
    let (waits, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..8 {
        let waits = waits.clone();
        let never = stream::poll_fn(move |_| {
            waits.send(()).unwrap();
            std::task::Poll::<Option<Result<Bytes, std::io::Error>>>::Pending
        });
        let slow = request(Method::POST, "/login", Body::from_stream(never));
        tokio::spawn(ward.router.clone().oneshot(slow));
    }
    for _ in 0..8 {
        waiting.recv().await.unwrap();
    }
    assert_eq!(ward.state.senders.available_permits(), 4, "none of them has a place");
    ward.json(Method::POST, "/api/hello", &json!({})).await.problem(422);
    let form = Body::from(format!("token={}", "x".repeat(5000)));
    ward.send(request(Method::POST, "/login", form)).await.problem(413);
}
