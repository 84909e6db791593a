//! The control socket: how the command line talks to a running agent.
//!
//! A unix socket of mode 0600 in the run folder. One request a connection, as one JSON line; the
//! answer is one or more JSON lines, or after [`Reply::Attached`] the console's bytes both ways.

pub mod client;
pub mod server;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::guest::order::Status;
use super::guest::ports::Examined;
use super::live::LiveAnswer;

/// The longest line either side takes.
pub const MAX_LINE: usize = 1 << 20;

/// A request. Guests are named by their UUID or, where only one is called so, by their name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// How all guests are.
    Status,
    /// Hold a round of a guest now: all scenarios, or one.
    Round {
        /// Which guest.
        guest: String,
        /// Which scenario.
        #[serde(default)]
        scenario: Option<String>,
    },
    /// Examine a guest now.
    Diagnose {
        /// Which guest.
        guest: String,
    },
    /// Attach a person to a guest's console; probes pause meanwhile.
    Attach {
        /// Which guest.
        guest: String,
        /// Send bytes as they are, multiplexer escapes included.
        #[serde(default)]
        raw: bool,
    },
    /// Every answer as it is given, until the connection is closed.
    Live,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "with", rename_all = "kebab-case")]
pub enum Reply {
    /// How the guests are.
    Status(Vec<Status>),
    /// A probe's answer.
    Answer(Box<LiveAnswer>),
    /// The diagnosis is over.
    Examined(Examined),
    /// The console's bytes follow.
    Attached,
    /// Nothing more follows.
    Done,
    /// It could not be done.
    Error(String),
}
