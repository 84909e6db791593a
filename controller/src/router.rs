//! Puts API and pages together, and around them what every request passes.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::problem::Problem;
use crate::{AppState, api, auth, extract, metrics, page};

/// Most bytes of a body where no handler says otherwise (forms).
const FORM_BYTES: usize = 64 << 10;

/// The same of the login form, which anybody may send, and how long it may take to come.
const LOGIN_BYTES: usize = 4 << 10;
const FORM: Duration = Duration::from_secs(10);

/// Headers of every answer that does not set them itself.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Everything that is served.
pub fn router(state: AppState) -> Router {
    let (api, _document) = api::routes().split_for_parts();
    let idle = Duration::from_secs(state.config.limits.idle_seconds);
    api.merge(page::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(RequestBodyTimeoutLayer::new(idle))
        .layer(from_fn_with_state(state.clone(), in_time))
        .layer(from_fn_with_state(state.clone(), auth::layer))
        .layer(catch_panic())
        .layer(from_fn(page::errors))
        .layer(from_fn(headers))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

async fn nothing(request: Request) -> Problem {
    Problem::not_found(format!("there is no {}", request.uri().path()))
}

async fn not_so(request: Request) -> Problem {
    let detail = format!("{} is not what {} is for", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Makes a problem of a panic.
pub fn catch_panic() -> CatchPanicLayer<fn(Box<dyn Any + Send + 'static>) -> Response> {
    CatchPanicLayer::custom(panicked as fn(Box<dyn Any + Send + 'static>) -> Response)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over so")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    Problem::broke(&format_args!("a handler panicked: {said}")).into_response()
}

/// So many at once, each within its time.
async fn in_time(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let limits = &state.config.limits;
    let upload = request.method() != Method::GET && request.uri().path().starts_with("/api/v1/uploads/");
    let long = upload || request.uri().path().starts_with("/api/v1/bundles");
    let seconds = if long { limits.upload_seconds } else { limits.request_seconds };
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    // The one body that anybody may send is here before it takes a place: as many slow ones as there are
    // places would keep everybody out.
    let request = match request.uri().path() {
        "/login" | "/logout" => match tokio::time::timeout(FORM, small(request)).await {
            Ok(Ok(it)) => it,
            Ok(Err(problem)) => return problem.into_response(),
            Err(_) => return extract::slow().into_response(),
        },
        _ => request,
    };
    // Who sends may be at the end of a thin link: readers and health do not wait for that.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let places = if reads { &state.places } else { &state.senders };
    let Ok(Ok(_place)) = tokio::time::timeout_at(until, places.acquire()).await else {
        return Problem::busy("too many requests at the same time").into_response();
    };
    match tokio::time::timeout_at(until, next.run(request)).await {
        Ok(it) => it,
        Err(_) => extract::slow().into_response(),
    }
}

/// The request with its whole body, which is that of the login form.
async fn small(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, LOGIN_BYTES).await {
        Ok(it) => Ok(Request::from_parts(parts, it.into())),
        Err(_) => {
            let detail = format!("the form is larger than {LOGIN_BYTES} bytes, or broke off");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
    }
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().map(|it| it.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(method, route, status, took = ?began.elapsed(), "answered");
    state.metrics.request(metrics::Request { method, route, status }, began.elapsed());
    response
}
