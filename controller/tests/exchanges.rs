//! What agents of earlier releases sent, on record in `tests/exchanges`, is taken by today's controller as
//! it was then.
#![expect(clippy::unwrap_used, reason = "a test ends where something cannot be had")]

#[path = "../../tests/exchanges/recorded.rs"]
mod recorded;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vmward_controller::AppState;
use vmward_controller::config::Config;
use vmward_controller::router::router;
use vmward_model::exchange::EventBatch;

use recorded::Recorded;

async fn ask(router: &Router, it: &Recorded) -> (u16, Value) {
    let request = Request::builder()
        .method(it.method.as_str())
        .uri(&it.target)
        .header(header::HOST, "127.0.0.1")
        .header(header::CONTENT_TYPE, &it.kind)
        .header(header::CONTENT_LENGTH, it.body.len())
        .body(Body::from(it.body.clone()))
        .unwrap();
    answered(router, request).await
}

async fn get(router: &Router, path: &str) -> (u16, Value) {
    let request = Request::get(path).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap();
    answered(router, request).await
}

async fn answered(router: &Router, request: Request<Body>) -> (u16, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Whether an answer still has all that the recorded one had: the same names and, unless `shape` is all
/// that matters, the same values. More is allowed.
fn still_has(was: &Value, is: &Value, shape: bool) -> bool {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            was.iter().all(|(name, was)| is.get(name).is_some_and(|is| still_has(was, is, shape)))
        }
        // Of a list that says what is known, what was known then.
        (Value::Array(was), Value::Array(is)) if shape => was.iter().all(|it| is.contains(it)),
        (Value::Array(was), Value::Array(is)) => {
            was.len() == is.len() && was.iter().zip(is).all(|(was, is)| still_has(was, is, shape))
        }
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) if shape => true,
        (was, is) => was == is,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_an_earlier_release_is_answered_as_it_was() {
    for (release, exchanges) in recorded::all("older-agent") {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data: dir.path().to_owned(), ..Config::default() };
        let router = router(AppState::open(config).await.unwrap().0);
        for it in &exchanges {
            let (status, is) = ask(&router, it).await;
            assert_eq!(status, it.status, "{release} {}: {is}", it.name);
            let was: Value = serde_json::from_slice(&it.answer).unwrap();
            // Version and bounds of the controller may change, and what it can do may grow.
            let shape = it.target == "/api/hello";
            assert!(still_has(&was, &is, shape), "{release} {}: {is} and not {was}", it.name);
        }
        everything_is_there(&router, &exchanges, &release).await;
        // Whatever answer was lost: sent again, all of it is taken, and nothing doubles.
        for it in &exchanges {
            let (status, is) = ask(&router, it).await;
            assert_eq!(status, it.status, "{release} {} again: {is}", it.name);
        }
        everything_is_there(&router, &exchanges, &release).await;
    }
}

async fn everything_is_there(router: &Router, exchanges: &[Recorded], release: &str) {
    let mut sent: Vec<u64> = exchanges
        .iter()
        .filter(|it| it.target == "/api/v1/events")
        .flat_map(|it| serde_json::from_slice::<EventBatch>(&it.body).unwrap().events)
        .map(|it| it.seq)
        .collect();
    sent.sort_unstable();
    let (_, page) = get(router, "/api/v1/events?limit=500").await;
    let rows = page["rows"].as_array().unwrap();
    let mut have: Vec<u64> = rows.iter().map(|it| it["event"]["seq"].as_u64().unwrap()).collect();
    have.sort_unstable();
    assert!(!sent.is_empty() && have == sent, "{release}: {have:?} of {sent:?}");
    let reports = exchanges.iter().filter_map(|it| it.target.strip_prefix("/api/v1/reports/"));
    let mut found = 0;
    for incident in reports {
        let (status, manifest) = get(router, &format!("/api/v1/incidents/{incident}/manifest")).await;
        assert_eq!((status, &manifest["incident"]["id"]), (200, &json!(incident)), "{release}");
        found += 1;
    }
    assert!(found > 0, "{release} sent no report");
}

#[test]
fn what_is_gone_from_an_answer_is_noticed() {
    let was = json!({ "stored": 3, "duplicates": 0 });
    assert!(still_has(&was, &json!({ "stored": 3, "duplicates": 0, "more": 1 }), false));
    assert!(!still_has(&was, &json!({ "stored": 3 }), false));
    assert!(!still_has(&was, &json!({ "stored": 2, "duplicates": 0 }), false));
    assert!(still_has(&json!({ "protocols": [1, 2] }), &json!({ "protocols": [1, 2, 3] }), true));
    assert!(!still_has(&json!({ "protocols": [1, 2] }), &json!({ "protocols": [2, 3] }), true));
    assert!(!still_has(&json!({ "limits": { "a": 1 } }), &json!({ "limits": { "a": "1" } }), true));
}
