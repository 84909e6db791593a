//! What the actor of a guest is told by those who watch its transports: the only way in.

use std::time::Duration;

use vmward_model::observed::{BootPhase, MonitorHealth};

/// One thing seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// How the QEMU process fares, whenever that changes.
    Process(Process),
    /// How the monitor answered `query-status`, each time it was asked.
    Monitor(Monitor),
    /// A QMP event.
    Qmp {
        /// Its name.
        name: String,
        /// Its data.
        data: serde_json::Value,
    },
    /// Something of the console.
    Console(Console),
}

/// The QEMU process, from the host's `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// There and not stopped.
    Alive,
    /// Stopped by a signal or a tracer (state `T` or `t`, proc_pid_stat(5)).
    Stopped,
    /// Gone.
    Gone,
}

/// One answer of the monitor, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Told apart as in the model.
    pub health: MonitorHealth,
    /// `query-status`' run state, when it was answered.
    pub status: Option<String>,
    /// In a sentence, when it was not.
    pub why: String,
}

/// What the console told or did.
#[derive(Clone, Debug, PartialEq)]
pub enum Console {
    /// It can be read, or why it cannot.
    Link(Result<(), String>),
    /// Bytes came, so many since the last report.
    Bytes(u64),
    /// Kernel trouble.
    Trouble(Trouble),
    /// A label that a scenario watches.
    Label {
        /// Name of the scenario's rule.
        rule: String,
    },
    /// How far the boot has come.
    Phase(BootPhase),
    /// A person came to the console (`true`) or left it.
    Person(bool),
}

/// Trouble that the guest or QEMU reported itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Kind, as in `vmward_console_log` (`panic`, `oops`, ...) or the QMP event's name.
    pub kind: String,
    /// Normalised title.
    pub title: String,
    /// Where it was reported: `console` or `event:GUEST_PANICKED`.
    pub source: String,
    /// The kernel stops for it.
    pub fatal: bool,
    /// Byte range in the console stream of this incarnation; empty when QEMU reported it.
    pub bytes: (u64, u64),
}

/// What came of a command typed on the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellReply {
    /// The expected answer.
    Answered {
        /// How long it took.
        took: Duration,
    },
    /// Something else than the expected answer, for instance `can't fork`. Guest text.
    Said {
        /// What.
        text: String,
        /// How long it took.
        took: Duration,
    },
    /// Typed, and nothing useful came in time.
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// Not typed: the typing guard or a person forbids it.
    Refused(String),
    /// Not typed: the console cannot be reached.
    Unreachable(String),
}
