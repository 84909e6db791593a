//! Who gets in, and who does not.

use axum::body::Body;
use axum::http::{Method, Request, header};
use futures_util::StreamExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::{Ward, request};
use crate::auth::hash;
use crate::sample::host;
use crate::store::tokens::Role;

async fn guarded() -> Ward {
    let ward = Ward::new().await;
    ward.state.store.token_add("agent-1", Role::Agent, &hash("agent's")).await.unwrap();
    ward.state.store.token_add("reader-1", Role::Reader, &hash("reader's")).await.unwrap();
    ward
}

fn with(method: Method, path: &str, token: &str) -> Request<Body> {
    let mut request = request(method, path, Body::empty());
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn where_tokens_are_each_request_needs_the_right_one() {
    let ward = guarded().await;
    ward.get("/api/v1/incidents").await.problem(401);
    ward.get("/metrics").await.problem(401);
    ward.send(with(Method::GET, "/api/v1/incidents", "wrong")).await.problem(401);
    ward.send(with(Method::GET, "/api/v1/incidents", "agent's")).await.problem(403);
    ward.send(with(Method::POST, "/api/hello", "reader's")).await.problem(403);
    assert_eq!(ward.send(with(Method::GET, "/api/v1/incidents", "reader's")).await.status, 200);
    let mut hello = with(Method::POST, "/api/hello", "agent's");
    hello.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *hello.body_mut() = Body::from(
        json!({ "host": host(1), "host_name": "a", "software": "t", "protocols": [1], "capabilities": [] })
            .to_string(),
    );
    assert_eq!(ward.send(hello).await.status, 200);
    for open in ["/healthz", "/readyz", "/login"] {
        assert_eq!(ward.get(open).await.status, 200, "{open}");
    }
    ward.state.store.token_remove("reader-1").await.unwrap();
    ward.send(with(Method::GET, "/api/v1/incidents", "reader's")).await.problem(401);
}

#[tokio::test]
async fn a_person_logs_in_with_a_readers_token() {
    let ward = guarded().await;
    let mut page = request(Method::GET, "/incidents", Body::empty());
    page.headers_mut().insert(header::ACCEPT, "text/html,*/*".parse().unwrap());
    let sent_on = ward.send(page).await;
    assert_eq!((sent_on.status.as_u16(), sent_on.header("location")), (303, "/login"));
    let form = async |token: &str| {
        let mut form = request(Method::POST, "/login", Body::from(format!("token={token}")));
        let kind = "application/x-www-form-urlencoded";
        form.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        ward.send(form).await
    };
    let shown = ward.get("/login").await;
    let text = String::from_utf8(shown.body.clone()).unwrap();
    assert!(text.contains("rel=\"stylesheet\"") && !text.contains("<script"), "{text}");
    assert!(shown.header("content-security-policy").contains("style-src 'self'"));
    assert_eq!(form("wrong").await.status, 401);
    assert_eq!(form("agent%27s").await.status, 401);
    let good = form("reader%27s").await;
    assert_eq!((good.status.as_u16(), good.header("location")), (303, "/"));
    let cookie = good.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let mut read = request(Method::GET, "/api/v1/incidents", Body::empty());
    let pair = cookie.split(';').next().unwrap();
    read.headers_mut().insert(header::COOKIE, pair.parse().unwrap());
    assert_eq!(ward.send(read).await.status, 200);
    let out = ward.send(request(Method::POST, "/logout", Body::empty())).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn guessing_tokens_is_slow_and_does_not_keep_out_who_has_one() {
    let ward = guarded().await;
    let mut refused = 0;
    for n in 0..100 {
        let answer = ward.send(with(Method::GET, "/api/v1/hosts", &format!("guess {n}"))).await;
        refused += u32::from(answer.status == 429);
    }
    assert!(refused > 50, "{refused}");
    assert_eq!(ward.send(with(Method::GET, "/api/v1/hosts", "reader's")).await.status, 200);
}

#[tokio::test]
async fn without_tokens_only_this_machines_names_are_answered() {
    let ward = Ward::new().await;
    let mut rebound = request(Method::GET, "/api/v1/incidents", Body::empty());
    rebound.headers_mut().insert(header::HOST, "evil.example:8471".parse().unwrap());
    ward.send(rebound).await.problem(403);
    let mut cross = request(Method::POST, "/api/hello", Body::empty());
    cross.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    ward.send(cross).await.problem(403);
}

#[tokio::test]
async fn every_answer_is_kept_from_being_framed_guessed_or_stored() {
    let ward = Ward::new().await;
    for path in ["/healthz", "/no/such", "/login", "/api/v1/hosts"] {
        let answer = ward.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
}

#[tokio::test]
async fn who_listens_hears_nothing_more_once_the_token_was_taken_back() {
    let ward = guarded().await;
    let asked = ward.router.clone().oneshot(with(Method::GET, "/api/v1/live", "reader's"));
    let mut stream = asked.await.unwrap().into_body().into_data_stream();
    ward.state.store.token_remove("reader-1").await.unwrap();
    let end = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while stream.next().await.is_some() {}
    });
    end.await.expect("the stream ends");
}
