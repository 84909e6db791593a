//! The state of one QMP connection, without I/O: ids, phases, what is outstanding.
//!
//! A command that timed out stays outstanding until QEMU answers it or the connection ends: its
//! late answer is then counted and dropped, never taken for another command's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::codec::{Line, LineCodec};
use super::message::{Greeting, Message, Refusal, parse, sample};

/// QEMU 7.2 stops reading a monitor with 8 requests queued (`QMP_REQ_QUEUE_LEN_MAX`); past that our
/// own pipe would fill.
pub const MAX_OUTSTANDING: usize = 8;

/// What came out of the bytes received.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The greeting, first line of a healthy peer.
    Greeting(Greeting),
    /// An answer to an outstanding command.
    Answer {
        /// Our id.
        id: u64,
        /// What came back.
        result: Result<Value, Refusal>,
    },
    /// An answer with an id that is not outstanding or with none: counted, never delivered.
    Stray(Option<u64>),
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its data.
        data: Value,
        /// QEMU's clock, microseconds since the epoch.
        qemu_time_us: Option<i64>,
    },
    /// A line that is no QMP; the start of it, escaped.
    Garbage(String),
}

/// The sans-I/O core.
#[derive(Debug, Default)]
pub struct Session {
    codec: LineCodec,
    next_id: u64,
    outstanding: BTreeMap<u64, &'static str>,
    greeted: bool,
}

/// Too many commands have no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} commands are still without an answer")]
pub struct Backlogged(pub usize);

impl Session {
    /// A connection that has not been greeted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds received bytes; hands out what they complete, in order. `raw` sees each whole line.
    pub fn received(&mut self, bytes: &[u8], mut raw: impl FnMut(&[u8])) -> Vec<Output> {
        let mut lines = Vec::new();
        self.codec.push(bytes, |line| lines.push(line));
        lines
            .into_iter()
            .map(|line| match line {
                Line::Whole(line) => {
                    raw(&line);
                    self.understand(&line)
                }
                Line::TooLong(start) => {
                    raw(&start);
                    Output::Garbage(format!("line too long: {}", sample(&start)))
                }
            })
            .collect()
    }

    /// Encodes a command; gives its id and the line to send.
    ///
    /// # Errors
    /// [`Backlogged`] when [`MAX_OUTSTANDING`] commands have no answer.
    pub fn command(&mut self, name: &'static str, arguments: &Value) -> Result<(u64, Vec<u8>), Backlogged> {
        if self.outstanding.len() >= MAX_OUTSTANDING {
            return Err(Backlogged(self.outstanding.len()));
        }
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({ "execute": name, "id": id });
        if arguments.as_object().is_some_and(|a| !a.is_empty())
            && let Some(object) = message.as_object_mut()
        {
            object.insert("arguments".to_owned(), arguments.clone());
        }
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.outstanding.insert(id, name);
        Ok((id, line))
    }

    /// Commands without an answer, oldest first.
    pub fn outstanding(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.outstanding.values().copied()
    }

    /// True when bytes of an unfinished line are there.
    #[must_use]
    pub fn mid_line(&self) -> bool {
        !self.codec.partial().is_empty()
    }

    /// True once the greeting came.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.greeted
    }

    fn understand(&mut self, line: &[u8]) -> Output {
        match parse(line) {
            Message::Greeting(greeting) if !self.greeted => {
                self.greeted = true;
                Output::Greeting(greeting)
            }
            Message::Greeting(_) => Output::Garbage("a second greeting".to_owned()),
            Message::Answer { id, result } => match id {
                Some(known) if self.outstanding.remove(&known).is_some() => {
                    Output::Answer { id: known, result }
                }
                other => Output::Stray(other),
            },
            Message::Event { name, data, qemu_time_us } => Output::Event { name, data, qemu_time_us },
            Message::Garbage(sample) => Output::Garbage(sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_foreign_id_is_stray_and_ours_still_arrives() {
        let mut session = Session::new();
        let (id, line) = session.command("query-status", &json!({})).unwrap();
        assert_eq!(line, b"{\"execute\":\"query-status\",\"id\":1}\n");
        let got = session.received(
            b"{\"return\":{},\"id\":77}\n{\"return\":{}}\n{\"return\":{\"a\":1},\"id\":1}\n",
            |_| {},
        );
        assert_eq!(
            got,
            [
                Output::Stray(Some(77)),
                Output::Stray(None),
                Output::Answer { id, result: Ok(json!({"a": 1})) }
            ]
        );
    }

    #[test]
    fn a_peer_that_never_answers_is_not_sent_more_than_it_can_queue() {
        let mut session = Session::new();
        for _ in 0..MAX_OUTSTANDING {
            session.command("query-status", &json!({})).unwrap();
        }
        assert_eq!(session.command("query-status", &json!({})).unwrap_err(), Backlogged(MAX_OUTSTANDING));
    }
}
