//! `POST /api/hello`: an agent and the controller tell each other what they can do.

use axum::extract::State;
use vmward_model::exchange::{AgentHello, CAPABILITIES, ControllerHello, PROTOCOLS};

use super::short;
use crate::AppState;
use crate::extract::Json;
use crate::problem::{Answer, Problem};

/// Most words in a list.
const WORDS: usize = 64;

/// What each side can do.
#[utoipa::path(
    post, path = "/api/hello", tag = "agent",
    request_body(content = ref("#/components/schemas/AgentHello"), content_type = "application/json"),
    responses(
        (status = 200, description = "What the controller can do",
            body = ref("#/components/schemas/ControllerHello"), content_type = "application/json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn post(
    State(state): State<AppState>,
    hello: Json<AgentHello>,
) -> Answer<axum::Json<ControllerHello>> {
    let hello = hello.value;
    let mut names = vec![hello.host_name.as_str(), hello.software.as_str()];
    names.extend(hello.capabilities.iter().map(String::as_str));
    short(&names)?;
    if hello.protocols.len() > WORDS || hello.capabilities.len() > WORDS {
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, format!("more than {WORDS} protocols or capabilities")));
    }
    state.store.hello(&hello).await?;
    Ok(axum::Json(ControllerHello {
        software: crate::SOFTWARE.to_owned(),
        protocols: PROTOCOLS.to_vec(),
        capabilities: CAPABILITIES.iter().map(|it| (*it).to_owned()).collect(),
        limits: state.config.limits.exchange(),
    }))
}
