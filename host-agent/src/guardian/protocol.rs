//! What agent and guardian say to each other: JSON lines on a socket pair that is the guardian's
//! standard input.

use serde::{Deserialize, Serialize};

/// Longest line; the dump of 512 vCPUs, in hexadecimal, is below 2 MiB.
pub const MAX_LINE: usize = 16 << 20;

/// From the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Check, then take the one-page dump.
    Dump {
        /// Guest-physical address; must be RAM.
        begin: i64,
        /// Bytes.
        length: i64,
    },
    /// Check, then open the gdb server. The guest still runs.
    OpenGdb,
    /// About to connect to it: the budget starts with the answer.
    Connecting,
    /// About to set the stub's physical mode, which outlives the session.
    PhysicalMode,
    /// The stub's physical mode is off again.
    PhysicalModeOff,
    /// Detached: clean up and say how the guest is.
    Close,
}

/// From the guardian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It holds the monitor.
    Ready,
    /// It cannot reach the monitor, and ends.
    Unreachable(String),
    /// Not done: something is in flight or the guest does not run. Nothing was stopped.
    Refused(String),
    /// The dump.
    Dump {
        /// The ELF file in hexadecimal.
        elf: String,
        /// From STOP to RESUME in nanoseconds, by the times at which the events came.
        paused_ns: u64,
    },
    /// The gdb server listens.
    GdbReady {
        /// Its socket.
        path: String,
    },
    /// Done.
    Ok,
    /// All is undone.
    Closed(Report),
    /// Something failed on the way; all that could be undone is.
    Failed {
        /// What.
        why: String,
        /// How it ended.
        report: Report,
    },
}

/// How the guest was left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// True when the guest runs, or was found in a state that is not ours to change.
    pub settled: bool,
    /// True when the guardian sent `cont`.
    pub continued: bool,
    /// The guest's state at the end.
    pub state: String,
    /// Why it was left stopped, if it was.
    pub left_alone: Option<String>,
    /// From STOP to RESUME in nanoseconds.
    pub paused_ns: u64,
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The reverse; `None` when it is no hexadecimal.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..50), junk in ".{0,9}") {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
            let _ = from_hex(&junk);
        }
    }
}
