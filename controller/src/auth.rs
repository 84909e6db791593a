//! Who may do what.
//!
//! Without tokens only this machine can reach the controller, and what has to be kept out are pages
//! of other sites in a browser on it: by the `Host` header, which DNS rebinding cannot forge, and by
//! what the browser says of where a request comes from. With tokens each request needs one.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest as _, Sha256};
use vmward_model::Digest;

use crate::AppState;
use crate::limits::Peer;
use crate::problem::Problem;
use crate::store::StoreError;
use crate::store::tokens::{Role, Token};

/// Name of the cookie that holds a reader's token.
pub const COOKIE: &str = "vmward-token";
/// What a wrong token costs of an address's requests, so that guessing is slow.
pub const GUESS: u32 = 50;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Remote(pub SocketAddr);

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Somebody on this machine, where no tokens are.
    Local,
    /// Somebody whom nobody asked.
    Anyone,
    /// Whoever has this token.
    Token(Token),
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A token of this role.
    Role(Role),
}

/// What a request needs where tokens are. Everything that changes something is an agent's.
pub fn need(method: &Method, path: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        "/healthz" | "/readyz" | "/login" | "/logout" | "/api/openapi.json" => Need::Nothing,
        // Part of the program: the pages' style and script.
        _ if reads && path.starts_with("/static/") => Need::Nothing,
        _ if path.starts_with("/api/v1/uploads/") => Need::Role(Role::Agent),
        _ if reads => Need::Role(Role::Reader),
        _ => Need::Role(Role::Agent),
    }
}

/// SHA-256 of a token, as it is kept.
pub fn hash(token: &str) -> String {
    Digest::from_bytes(&Sha256::digest(token.as_bytes()).into()).as_str().to_owned()
}

/// Lets a request in, or not.
pub async fn layer(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let remote = parts.extensions.get::<Remote>().map_or(IpAddr::from([127, 0, 0, 1]), |it| it.0.ip());
    match admit(&state, &parts, remote).await {
        Ok(who) => {
            parts.extensions.insert(who);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(Refusal::Problem(it)) => it.into_response(),
        Err(Refusal::LogIn) => Redirect::to("/login").into_response(),
    }
}

enum Refusal {
    Problem(Problem),
    LogIn,
}

impl From<Problem> for Refusal {
    fn from(it: Problem) -> Refusal {
        Refusal::Problem(it)
    }
}

impl From<StoreError> for Refusal {
    fn from(it: StoreError) -> Refusal {
        Refusal::Problem(it.into())
    }
}

async fn admit(state: &AppState, request: &Parts, remote: IpAddr) -> Result<Who, Refusal> {
    let (method, headers) = (&request.method, &request.headers);
    same_site(method, headers)?;
    // Tokens may be added and taken back while the controller runs.
    let guarded = !state.config.listen.ip().to_canonical().is_loopback() || state.store.any_token().await?;
    if !guarded {
        local_name(headers)?;
        state.spend(&Peer::from(remote), 1)?;
        return Ok(Who::Local);
    }
    let Need::Role(role) = need(method, request.uri.path()) else {
        state.spend(&Peer::from(remote), 1)?;
        return Ok(Who::Anyone);
    };
    let token = match sent(headers) {
        Some(sent) => state.store.token(&hash(sent)).await?,
        None => None,
    };
    match token {
        Some(token) if token.role == role => {
            state.spend(&Peer::Token(token.name.clone()), 1)?;
            Ok(Who::Token(token))
        }
        Some(token) => {
            state.spend(&Peer::Token(token.name.clone()), 1)?;
            let detail = format!("this needs a token of role {role}, not {}", token.role);
            Err(Problem::new(StatusCode::FORBIDDEN, detail).into())
        }
        None => {
            state.spend(&Peer::from(remote), if sent(headers).is_some() { GUESS } else { 1 })?;
            if wants_page(request) {
                return Err(Refusal::LogIn);
            }
            Err(Problem::new(StatusCode::UNAUTHORIZED, format!("this needs a token of role {role}")).into())
        }
    }
}

/// The token of a request: from the header, or from the cookie of the login form.
fn sent(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()).and_then(|it| {
        let (scheme, token) = it.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let mut cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(';'))
        .filter_map(|it| it.trim().split_once('='));
    bearer.or_else(|| cookies.find(|(name, _)| *name == COOKIE).map(|(_, token)| token))
}

fn wants_page(request: &Parts) -> bool {
    let accept = request.headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    request.method == Method::GET && !request.uri.path().starts_with("/api/") && accept.contains("text/html")
}

/// Refuses what a page of another site lets a browser send.
fn same_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name| headers.get(name).and_then(|it: &axum::http::HeaderValue| it.to_str().ok());
    let foreign = match (text(header::HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, it)| it) != text(header::HOST),
        (None, None) => false,
    };
    if foreign {
        return Err(Problem::new(StatusCode::FORBIDDEN, "a page of another site sent this"));
    }
    Ok(())
}

/// Refuses what was sent to another name than this machine's own.
fn local_name(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let name = host.and_then(|it| it.parse::<Authority>().ok());
    // An address is no name that could be rebound, and 127.0.0.2 may be what is listened on.
    let own = |it: &str| {
        let address = it.trim_start_matches('[').trim_end_matches(']');
        it == "localhost" || address.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback())
    };
    match name.as_ref().map(Authority::host) {
        Some(it) if own(it) => Ok(()),
        _ => {
            let detail = "without tokens the controller answers to localhost, 127.0.0.1 and [::1] only: it was asked by another name";
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn another_name_for_this_machine_is_refused() {
        for good in ["localhost", "localhost:8471", "127.0.0.1:9000", "127.0.0.2:9000", "[::1]:8471"] {
            assert!(local_name(&headers(&[("host", good)])).is_ok(), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:8471", "localhost.evil.example", "127.0.0.1@evil", "10.0.0.1", ""]
        {
            assert!(local_name(&headers(&[("host", bad)])).is_err(), "{bad}");
        }
        assert!(local_name(&headers(&[])).is_err());
    }

    #[test]
    fn a_page_of_another_site_cannot_change_anything() {
        let from = |all| same_site(&Method::POST, &headers(all)).is_ok();
        assert!(from(&[]), "no browser");
        assert!(from(&[("sec-fetch-site", "same-origin")]));
        assert!(from(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        assert!(!from(&[("sec-fetch-site", "cross-site")]));
        assert!(!from(&[("sec-fetch-site", "same-site")]));
        assert!(!from(&[("host", "localhost:1"), ("origin", "http://evil.example")]));
        assert!(!from(&[("host", "localhost:1"), ("origin", "null")]));
    }

    #[test]
    fn only_agents_send_and_only_readers_read() {
        let of = |method: Method, path| need(&method, path);
        assert_eq!(of(Method::POST, "/api/hello"), Need::Role(Role::Agent));
        assert_eq!(of(Method::GET, "/api/v1/uploads/ab"), Need::Role(Role::Agent));
        assert_eq!(of(Method::GET, "/api/v1/incidents"), Need::Role(Role::Reader));
        assert_eq!(of(Method::GET, "/"), Need::Role(Role::Reader));
        assert_eq!(of(Method::GET, "/metrics"), Need::Role(Role::Reader));
        assert_eq!(of(Method::DELETE, "/of/the/future"), Need::Role(Role::Agent));
        assert_eq!(of(Method::GET, "/healthz"), Need::Nothing);
    }

    #[test]
    fn a_token_is_found_in_header_or_cookie() {
        assert_eq!(sent(&headers(&[("authorization", "Bearer abc")])), Some("abc"));
        assert_eq!(sent(&headers(&[("cookie", "a=b; vmward-token=abc; c=d")])), Some("abc"));
        assert_eq!(sent(&headers(&[("authorization", "Basic abc")])), None);
    }
}
