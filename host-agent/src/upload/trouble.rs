//! Why something could not be sent, by what it means for what comes next.

use std::time::Duration;

/// Why a call or an entry did not go through.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// This way to this controller does not work: nobody is there, or what is there is no controller.
    #[error("{0}")]
    Link(String),
    /// The controller is there and cannot take it now.
    #[error("{why}")]
    Busy {
        why: String,
        /// It said when to come again.
        after: Option<Duration>,
    },
    /// The controller does not want this, and said so in a way that means this entry alone.
    #[error("{0}")]
    Rejected(String),
    /// Our own disk does not give what is to be sent.
    #[error("{0}")]
    Disk(String),
}

/// Text of a peer, made fit for a log or an event: short, one line, printable.
pub(super) fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(200).collect();
    vmward_report_view::escape::visible(plain.trim())
}
