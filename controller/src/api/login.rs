//! `/login` and `/logout`: a reader's token, kept in a cookie that no script sees and no other site
//! can make a browser send.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use vmward_report_view::page::{self as view, Software};

use crate::auth::{COOKIE, GUESS, Remote, hash};
use crate::limits::Peer;
use crate::problem::{Answer, Problem};
use crate::store::tokens::Role;
use crate::{AppState, SOFTWARE};

/// How long a browser keeps the cookie, in seconds.
const KEPT: u32 = 30 * 24 * 3600;

/// What the form sends.
#[derive(Deserialize)]
pub struct Given {
    /// A reader's token.
    pub token: String,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// The form.
#[utoipa::path(
    get, path = "/login", tag = "reader", security(()),
    responses((status = 200, description = "A form", body = String, content_type = "text/html"))
)]
pub async fn form() -> Answer<Response> {
    page(StatusCode::OK, "")
}

/// Takes a reader's token.
#[utoipa::path(
    post, path = "/login", tag = "reader", security(()),
    request_body(content = ref("#/components/schemas/Login"), content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "The token is good; a cookie holds it"),
        (status = 401, description = "It is not", body = String, content_type = "text/html"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn post(
    State(state): State<AppState>,
    remote: Option<Extension<Remote>>,
    given: Result<Form<Given>, FormRejection>,
) -> Answer<Response> {
    let Form(given) = given.map_err(|it| Problem::new(it.status(), it.body_text()))?;
    let token = given.token.trim();
    let found = state.store.token(&hash(token)).await?;
    if !found.is_some_and(|it| it.role == Role::Reader) {
        let remote = remote.map_or(IpAddr::from([127, 0, 0, 1]), |it| it.0.0.ip());
        state.spend(&Peer::from(remote), GUESS)?;
        return page(StatusCode::UNAUTHORIZED, "No reader has this token.");
    }
    let secure = if state.config.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={KEPT}{secure}");
    cookie_and_home(&cookie)
}

/// Takes the cookie away.
#[utoipa::path(
    post, path = "/logout", tag = "reader", security(()),
    responses(
        (status = 303, description = "The cookie is gone"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn out() -> Answer<Response> {
    cookie_and_home(&format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
}

fn cookie_and_home(cookie: &str) -> Answer<Response> {
    let cookie = HeaderValue::from_str(cookie).map_err(|it| Problem::broke(&it))?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

fn page(status: StatusCode, said: &'static str) -> Answer<Response> {
    let body = view::login(&Software(SOFTWARE.into()), said).map_err(|it| Problem::broke(&it))?;
    Ok((status, [(header::CONTENT_SECURITY_POLICY, view::POLICY)], Html(body)).into_response())
}
