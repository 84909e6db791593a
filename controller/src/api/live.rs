//! `GET /api/v1/live`: tells at once what has changed, as server-sent events.
//!
//! Names are `incident`, `guest` and `event`; the data says which. A reader that is too slow gets
//! `reset` and has to look at everything again.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, Interval, interval_at};

use crate::AppState;
use crate::auth::Who;
use crate::live::Change;
use crate::problem::{Answer, Problem};

/// How often a comment keeps the connection open.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is looked whether the reader's token was taken back.
const LOOK: Duration = Duration::from_secs(2);
/// How long a stream lasts; a browser connects again by itself, and shows its token again.
const LASTS: Duration = Duration::from_secs(3600);

/// What has changed, as it changes.
#[utoipa::path(
    get, path = "/api/v1/live", tag = "reader",
    responses(
        (status = 200, description = "Server-sent events `incident`, `guest`, `event` and `reset`",
            body = String, content_type = "text/event-stream"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn get(State(state): State<AppState>, who: Option<Extension<Who>>) -> Answer<impl IntoResponse> {
    let Ok(place) = state.live_places.clone().try_acquire_owned() else {
        return Err(Problem::busy("as many readers listen as may"));
    };
    state.metrics.live_readers.inc();
    let reader = Reader {
        changes: state.live.listen(),
        stop: state.stop.subscribe(),
        until: Instant::now() + LASTS,
        who: who.map(|it| it.0),
        look: interval_at(Instant::now() + LOOK, LOOK),
        state: state.clone(),
        _place: place,
    };
    let keep = KeepAlive::new().interval(HEARTBEAT).text("still here");
    Ok(Sse::new(events(reader)).keep_alive(keep))
}

struct Reader {
    changes: broadcast::Receiver<Change>,
    stop: watch::Receiver<bool>,
    until: Instant,
    who: Option<Who>,
    look: Interval,
    state: AppState,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// Whether whoever listens may not any more: the token was taken back, or there are tokens now.
    async fn is_out(&self) -> bool {
        match &self.who {
            Some(Who::Token(it)) => !self.state.store.has_token(it).await.unwrap_or(false),
            Some(Who::Local) => self.state.store.any_token().await.unwrap_or(true),
            Some(Who::Anyone) | None => false,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.state.metrics.live_readers.dec();
    }
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(reader, |mut reader| async move {
        let next = loop {
            tokio::select! {
                it = reader.changes.recv() => break it,
                _ = reader.look.tick() => {}
                _ = reader.stop.wait_for(|it| *it) => return None,
                () = tokio::time::sleep_until(reader.until) => return None,
            }
            if reader.is_out().await {
                return None;
            }
        };
        let event = match next {
            Ok(change) => {
                let data = serde_json::to_string(&change).unwrap_or_default();
                Event::default().event(change.name()).data(data)
            }
            Err(RecvError::Lagged(_)) => Event::default().event("reset").data("{}"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), reader))
    })
}
