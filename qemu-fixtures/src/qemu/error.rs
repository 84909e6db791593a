//! What can go wrong while a guest is built, started or driven.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shorthand for results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a guest could not be started, reached or believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, socket or process operation failed.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried, ready to stand before the path ("cannot open").
        doing: &'static str,
        /// The file or socket.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The peer said nothing, or not the right thing, before the deadline.
    #[error("no {what} within {:.1} s", waited.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// QEMU refused a monitor command.
    #[error("QEMU refused {command}: {reason}")]
    Qmp {
        /// The command's name.
        command: String,
        /// QEMU's `desc`, or what made the reply unreadable.
        reason: String,
    },
    /// The patient refused a control command, or answered with something else than JSON.
    #[error("the patient refused `{request}`: {reason}")]
    Control {
        /// The line that was sent.
        request: String,
        /// The patient's reason.
        reason: String,
    },
    /// QEMU ended by itself.
    #[error("QEMU ended ({status}): {stderr}")]
    Exited {
        /// The exit status in words.
        status: String,
        /// The tail of its standard error.
        stderr: String,
    },
    /// No attempt to boot got as far as the ready mark.
    #[error("{name} did not get ready in {attempts} boots; last: {last}; console ends with: {tail}")]
    Boot {
        /// The guest's name.
        name: String,
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt was given up.
        last: String,
        /// The last lines of its console.
        tail: String,
    },
    /// The emulator's own double fault hit a guest that was ready: nothing of this run counts.
    /// QEMU 7.2's TCG does this to Linux 6.12 now and then.
    #[error("this run is void: the guest took a double fault that nobody injected: {line}")]
    Voided {
        /// The console line that says so.
        line: String,
    },
    /// A peer spoke another protocol than expected (RSP, JSON).
    #[error("{what}: unexpected answer {answer:?}")]
    Protocol {
        /// Which exchange.
        what: &'static str,
        /// The answer, shortened.
        answer: String,
    },
    /// The builder was given things that cannot go together, or this host lacks something.
    #[error("{0}")]
    Setup(String),
}

impl Error {
    /// Wraps an I/O error with what was tried on which path.
    pub fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { doing, path, source }
    }
}
