//! `POST /api/v1/bundles`: a packed report, as `vmward report pack` makes it, sent by hand.
//!
//! ```text
//! curl --data-binary @REPORT.tar.zst http://127.0.0.1:8471/api/v1/bundles
//! ```

use std::io::{self, Read};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::StatusCode;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::AppState;
use crate::extract::is_slow;
use crate::import::{self, Imported};
use crate::problem::{Answer, Problem};

/// Imports at a time: each takes a window of 8 MiB and what a manifest becomes.
static ROOM: Semaphore = Semaphore::const_new(2);
/// What of a refused report is still read, so that the peer gets to see why: an answer that comes
/// before the end of the question is lost where the connection is reset.
const DRAIN: (u64, Duration) = (16 << 20, Duration::from_millis(500));

/// Take in a packed report that was brought by hand.
///
/// The body is the packed file as it is. It is checked while it comes; nothing of it is kept before all
/// of it was found to be whole. What was there before is not stored twice.
#[utoipa::path(
    post, path = "/api/v1/bundles", tag = "agent",
    request_body(content = ref("#/components/schemas/Bytes"), content_type = "application/octet-stream",
        description = "A packed report (.tar.zst)"),
    responses(
        (status = 200, description = "It was here before, or a later one of the incident",
            body = ref("#/components/schemas/Imported"), content_type = "application/json"),
        (status = 201, description = "It is stored",
            body = ref("#/components/schemas/Imported"), content_type = "application/json"),
        (status = 413, description = "It passes a bound; `detail` names it",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 422, description = "It is no whole report",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = "default", description = "A problem",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    )
)]
pub async fn import(State(state): State<AppState>, body: Body) -> Answer<(StatusCode, Json<Imported>)> {
    let Ok(_room) = ROOM.try_acquire() else {
        return Err(Problem::busy("other reports are being imported"));
    };
    let (pieces, source) = mpsc::channel(2);
    let mut body = body.into_data_stream();
    let (imported, ended) =
        tokio::join!(import::bundle(&state, Source::new(source)), pump(&mut body, pieces));
    match imported {
        Ok(it) if it.duplicate => Ok((StatusCode::OK, Json(it))),
        Ok(it) => Ok((StatusCode::CREATED, Json(it))),
        Err(problem) => {
            if !ended {
                drain(&mut body).await;
            }
            Err(problem)
        }
    }
}

/// Hands the body on piece by piece, until it ends or nobody takes more. Gives whether it has ended.
async fn pump(body: &mut BodyDataStream, pieces: mpsc::Sender<io::Result<Bytes>>) -> bool {
    loop {
        // The router's layers bound how long a body may pause and how long all of it may take.
        let piece = tokio::select! {
            it = body.next() => it,
            () = pieces.closed() => return false,
        };
        let Some(piece) = piece else { return true };
        let piece = piece.map_err(|err| {
            let kind = if is_slow(&err) { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
            io::Error::new(kind, format!("the body broke off: {err}"))
        });
        let broken = piece.is_err();
        if pieces.send(piece).await.is_err() || broken {
            return broken;
        }
    }
}

async fn drain(body: &mut BodyDataStream) {
    let (most, longest) = DRAIN;
    let mut read = 0u64;
    let _gave_up = timeout(longest, async {
        while let Some(Ok(piece)) = body.next().await {
            read = read.saturating_add(piece.len() as u64);
            if read > most {
                break;
            }
        }
    })
    .await;
}

/// A body as a thread reads it.
struct Source {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Source {
    fn new(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Source {
        Source { pieces, current: Bytes::new() }
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let n = out.len().min(self.current.len());
        if let (Some(out), Some(piece)) = (out.get_mut(..n), self.current.get(..n)) {
            out.copy_from_slice(piece);
        }
        self.current.advance(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_across_its_pieces() {
        let (send, pieces) = mpsc::channel(4);
        for piece in ["ab", "", "cde"] {
            send.try_send(Ok(Bytes::from(piece))).unwrap();
        }
        drop(send);
        let mut text = String::new();
        Source::new(pieces).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error_and_no_end() {
        let (send, pieces) = mpsc::channel(4);
        send.try_send(Ok(Bytes::from("ab"))).unwrap();
        send.try_send(Err(io::Error::other("reset"))).unwrap();
        let err = Source::new(pieces).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(err.to_string(), "reset");
    }
}
