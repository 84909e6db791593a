//! The fixture's line to the patient: one request line, one JSON answer line.
//!
//! Requests are words (`tasks`, `symbol vhangup`, `fault oops`). An answer repeats the request as
//! `cmd` and has `ok`; one with `ok: false` has an `error`. Between answers come beats
//! (`{"beat":N}`, five a second): when they stop, the guest's user space stands still.

use super::line::LineSocket;
use super::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection to the patient's control port.
#[derive(Debug)]
pub struct Control {
    socket: LineSocket,
}

impl Control {
    /// Connects to the port's host end; the patient itself may not be there yet.
    pub fn connect(path: &Path, wait: Duration) -> Result<Self> {
        let socket = LineSocket::connect(path, Instant::now() + wait)?;
        Ok(Self { socket })
    }

    /// Sends `request` and waits for its answer.
    pub fn ask(&mut self, request: &str, wait: Duration) -> Result<Value> {
        let deadline = Instant::now() + wait;
        self.socket.send(request, deadline)?;
        let waited_for = format!("answer to `{request}`");
        loop {
            // The time since the request, not since the last beat.
            let line = self.socket.next_line(&waited_for, deadline).map_err(|err| match err {
                Error::Timeout { what, .. } => Error::Timeout { what, waited: wait },
                other => other,
            })?;
            match reading(&line, request) {
                Reading::Other => {}
                Reading::Answer(answer) => return Ok(answer),
                Reading::Refusal(reason) => {
                    return Err(Error::Control { request: request.to_owned(), reason });
                }
            }
        }
    }

    /// Waits for the next beat that is not here yet and gives its number.
    pub fn next_beat(&mut self, wait: Duration) -> Result<u64> {
        // What waits in the socket was sent earlier: it says nothing about now.
        let just_now = Duration::from_millis(5);
        while self.socket.next_line("old beat", Instant::now() + just_now).is_ok() {}
        let deadline = Instant::now() + wait;
        loop {
            let line = self.socket.next_line("beat", deadline)?;
            let beat = serde_json::from_str::<Value>(&line).ok();
            if let Some(number) = beat.and_then(|it| it["beat"].as_u64()) {
                return Ok(number);
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Reading {
    /// A beat, an answer to an earlier request, half a line: not ours.
    Other,
    Answer(Value),
    Refusal(String),
}

fn reading(line: &str, request: &str) -> Reading {
    // The first line after a connect may be the rest of one that was cut.
    let Ok(answer) = serde_json::from_str::<Value>(line) else {
        return Reading::Other;
    };
    let Some(command) = answer["cmd"].as_str() else {
        return Reading::Other;
    };
    let verb = request.split_whitespace().next().unwrap_or_default();
    if command != request && command != verb {
        return Reading::Other;
    }
    if answer["ok"] == Value::Bool(true) {
        return Reading::Answer(answer);
    }
    let reason = answer["error"].as_str().unwrap_or("no reason given");
    Reading::Refusal(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn beats_and_answers_to_others_are_passed_over() {
        assert_eq!(reading("{\"beat\":7}", "tasks"), Reading::Other);
        assert_eq!(reading("at\":7}", "tasks"), Reading::Other);
        assert_eq!(reading("{\"cmd\":\"ping\",\"ok\":true}", "tasks"), Reading::Other);
    }

    #[test]
    fn an_answer_is_ours_when_it_repeats_the_request() {
        let line = "{\"cmd\":\"symbol a\",\"ok\":true,\"address\":\"1\"}";
        let answer = json!({ "cmd": "symbol a", "ok": true, "address": "1" });
        assert_eq!(reading(line, "symbol a"), Reading::Answer(answer));
        let refusal = "{\"cmd\":\"symbol b\",\"ok\":false,\"error\":\"no such symbol\"}";
        let expected = Reading::Refusal("no such symbol".to_owned());
        assert_eq!(reading(refusal, "symbol b"), expected);
    }
}
