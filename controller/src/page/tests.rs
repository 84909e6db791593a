//! The pages as a whole, over a store of their own.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use tower::ServiceExt as _;

use crate::AppState;
use crate::config::Config;
use crate::router::router;

struct Pages {
    _dir: tempfile::TempDir,
    router: Router,
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

impl Pages {
    async fn new() -> Pages {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::parse("").unwrap();
        config.data = dir.path().to_owned();
        let (state, _) = AppState::open(config).await.unwrap();
        Pages { _dir: dir, router: router(state) }
    }

    async fn get(&self, path: &str, accept: &str) -> Answered {
        let request = Request::builder().uri(path).header(header::HOST, "localhost:8471");
        let request = request.header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        Answered { status: parts.status, headers: parts.headers, text }
    }
}

#[tokio::test]
async fn every_page_has_the_policy_and_refers_to_what_is_served() {
    let pages = Pages::new().await;
    for path in ["/", "/guests", "/incidents?state=closed&q=%3Cu%3E", "/incidents?state=unclosed", "/hosts"] {
        let page = pages.get(path, "text/html").await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        let policy = page.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert!(!page.text.contains("<u>"), "{path}");
        let statics: Vec<&str> =
            page.text.split("\"/static/").skip(1).filter_map(|it| it.split('"').next()).collect();
        assert!(statics.len() >= 5, "{statics:?}");
        for name in statics {
            let asset = pages.get(&format!("/static/{name}"), "*/*").await;
            assert_eq!(asset.status, StatusCode::OK, "{name}");
            assert!(asset.header(header::CACHE_CONTROL).contains("immutable"));
        }
    }
}

#[tokio::test]
async fn an_error_is_a_page_for_people_and_a_problem_for_programs() {
    let pages = Pages::new().await;
    let nobody = "/guests/00000000-0000-4000-8000-000000000001";
    for (path, status) in [
        (nobody, 404),
        ("/guests/%3Cscript%3E", 400),
        ("/incidents/00000000-0000-4000-8000-000000000001", 404),
        ("/incidents?class=%3Cscript%3E", 400),
        ("/nowhere/%3Cscript%3E", 404),
        ("/static/ward.css", 404),
        (&format!("/incidents?q={}", "_".repeat(30_000)), 400),
    ] {
        let page = pages.get(path, "text/html").await;
        assert_eq!(page.status.as_u16(), status, "{path}: {}", page.text);
        assert!(!page.text.contains("<script>"), "{path}");
        if !path.starts_with("/static/") {
            assert!(
                page.text.contains(&format!("<p class=\"status\">{status}</p>")),
                "{path}: {}",
                page.text
            );
            assert!(page.header(header::CONTENT_SECURITY_POLICY).contains("style-src 'self'"), "{path}");
        }
        let problem = pages.get(path, "application/json").await;
        assert_eq!(problem.header(header::CONTENT_TYPE), "application/problem+json", "{path}");
        assert_eq!(problem.status.as_u16(), status, "{path}");
    }
}
