//! Why a monitor could not be reached or did not answer: each cause a variant of its own.

use std::path::PathBuf;
use std::time::Duration;

use crate::transport::holders::Holder;
use crate::transport::process::ProcessState;

/// Why there is no usable connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing at that path.
    #[error("no socket at {path}: check that the guest was started with -qmp and still runs")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket file without a listener: QEMU is gone and left it.
    #[error("nobody listens on {path}: its QEMU has exited")]
    Refused {
        /// The path.
        path: PathBuf,
    },
    /// Not ours to open.
    #[error("no permission to connect to {path}: add the agent's user to the group that owns it")]
    Denied {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else is being served: says nothing about the guest.
    #[error("{path} is held by {peer}: a QMP socket serves one client")]
    Busy {
        /// The path.
        path: PathBuf,
        /// Who holds it.
        peer: Holder,
        /// QEMU's own state, when its pid is known.
        qemu: Option<ProcessState>,
    },
    /// QEMU's process is stopped by a signal or a tracer.
    #[error("QEMU (pid {pid}) is stopped by a signal or a tracer")]
    QemuStopped {
        /// QEMU's pid.
        pid: u32,
    },
    /// The process that listened is gone, while the socket is still open somewhere.
    #[error("QEMU (pid {pid}) is gone")]
    QemuGone {
        /// QEMU's pid.
        pid: u32,
    },
    /// Nobody else is there and yet no greeting: QEMU's main loop does not run.
    #[error("no greeting on {path} within {waited:?}, and nobody else holds it{}", accepted_words(*.accepted))]
    Silent {
        /// The path.
        path: PathBuf,
        /// Whether the peer accepted our connection; `None` when that cannot be seen.
        accepted: Option<bool>,
        /// How long we waited.
        waited: Duration,
        /// QEMU's own state, when its pid is known.
        qemu: Option<ProcessState>,
    },
    /// The peer talks, but not QMP.
    #[error("{path} does not speak QMP: {sample}")]
    Garbage {
        /// The path.
        path: PathBuf,
        /// Start of what came, escaped.
        sample: String,
    },
    /// The peer closed before we were through.
    #[error("{path} was closed during {during}")]
    Closed {
        /// The path.
        path: PathBuf,
        /// `greeting` or `negotiation`.
        during: &'static str,
    },
    /// QEMU would not negotiate or did not answer in time.
    #[error("negotiation on {path} failed: {why}")]
    Negotiation {
        /// The path.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// The connection is lent to the guardian process.
    #[error("the monitor is lent to the guardian for a rung L2 capture")]
    Lent,
    /// Any other failure of the socket.
    #[error("cannot connect to {path}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a command gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer in time. Its late answer does no harm.
    #[error("{command} had no answer within {waited:?}")]
    Timeout {
        /// The command.
        command: &'static str,
        /// How long we waited.
        waited: Duration,
    },
    /// QEMU refused.
    #[error("{command} was refused: {class}: {desc}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Error class, such as `CommandNotFound`.
        class: String,
        /// QEMU's words.
        desc: String,
    },
    /// The connection ended before the answer.
    #[error("the monitor closed before it answered {command}{}", mid_reply_words(*.mid_reply))]
    Closed {
        /// The command.
        command: &'static str,
        /// True when part of a line had come.
        mid_reply: bool,
    },
    /// Something that is no QMP came while the answer was awaited.
    #[error("garbage came instead of the answer to {command}: {sample}")]
    Garbage {
        /// The command.
        command: &'static str,
        /// Start of it, escaped.
        sample: String,
    },
    /// The answer does not have the shape of the schema (a newer QEMU); the raw answer is kept.
    #[error("the answer to {command} has an unknown shape")]
    Shape {
        /// The command.
        command: &'static str,
        /// The raw answer.
        raw: serde_json::Value,
        /// What did not fit.
        source: serde_json::Error,
    },
    /// Earlier commands have no answer yet: QEMU's main loop is stuck behind them.
    #[error("{command} was not sent: {outstanding} earlier commands have no answer yet")]
    Backlogged {
        /// The command.
        command: &'static str,
        /// How many.
        outstanding: usize,
    },
}

/// Either of the two.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A session on a shared socket took longer than it may.
    #[error("left the shared monitor after {0:?}: the session was not through")]
    OverTime(Duration),
}

fn accepted_words(accepted: Option<bool>) -> &'static str {
    match accepted {
        Some(true) => " (the connection was accepted)",
        Some(false) => " (the connection waits in the backlog: its main loop does not run)",
        None => "",
    }
}

fn mid_reply_words(mid_reply: bool) -> &'static str {
    if mid_reply { ", in the middle of a line" } else { "" }
}
