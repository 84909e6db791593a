//! How a page is answered: its policy, its version, and what is shown when it cannot be.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use sha2::{Digest, Sha256};
use vmward_report_view::escape::Text;
use vmward_report_view::html::RenderError;
use vmward_report_view::page::{self, Software};

use crate::SOFTWARE;
use crate::problem::{Answer, Problem};

/// Most bytes of a problem that is made a page.
const PROBLEM_BYTES: usize = 64 << 10;

/// Headers of every page.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, page::POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // A browser keeps a page and asks each time whether it is still the same.
    (header::CACHE_CONTROL, "private, no-cache"),
];

/// What stands at the foot of each page.
pub(super) fn software() -> Software {
    Software(SOFTWARE.into())
}

/// A page, or that the one which the asker has is still the same.
pub(super) fn page(asked: &HeaderMap, rendered: Result<String, RenderError>) -> Answer<Response> {
    let text = rendered.map_err(|it| Problem::broke(&it))?;
    let digest = Sha256::digest(&text);
    let mut tag = String::from("\"");
    for byte in digest.iter().take(12) {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    let same = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let same = same.flat_map(|it| it.split(',')).any(|it| it.trim().trim_start_matches("W/") == tag);
    let mut response =
        if same { StatusCode::NOT_MODIFIED.into_response() } else { Html(text).into_response() };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(with_headers(response))
}

fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Makes a page of a problem for whoever looks at pages; programs get it as it is.
pub async fn errors(request: Request, next: Next) -> Response {
    let looks = wants_page(&request);
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if !looks || kind != Some("application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, PROBLEM_BYTES).await else {
        return Problem::broke(&"a problem is too long to be shown").into_response();
    };
    let rendered = serde_json::from_slice::<Problem>(&bytes).ok().and_then(|problem| {
        let detail = Text::new(&problem.detail);
        page::error(&software(), problem.status, &Text::new(&problem.title), &detail).ok()
    });
    match rendered {
        Some(text) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            parts.headers.insert(header::CONTENT_TYPE, html);
            let mut response = with_headers(Response::from_parts(parts, Body::from(text)));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        None => Response::from_parts(parts, Body::from(bytes)),
    }
}

fn wants_page(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    matches!(*request.method(), Method::GET | Method::HEAD)
        && !path.starts_with("/api/")
        && !path.starts_with("/static/")
        && accept.contains("text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_the_same_page_is_told_so() {
        let first = page(&HeaderMap::new(), Ok("<p>a</p>".into())).unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = page(&asked, Ok("<p>a</p>".into())).unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(page(&asked, Ok("<p>b</p>".into())).unwrap().status(), StatusCode::OK);
        assert!(
            again.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'")
        );
    }

    #[test]
    fn only_a_reader_of_pages_gets_one() {
        let request = |path: &str, accept: &str| {
            Request::builder().uri(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap()
        };
        assert!(wants_page(&request("/guests/x", "text/html,application/xhtml+xml")));
        assert!(!wants_page(&request("/guests/x", "application/json")));
        assert!(!wants_page(&request("/api/v1/guests", "text/html")));
    }
}
