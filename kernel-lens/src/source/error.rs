//! Why a file could not be opened as memory.

use thiserror::Error;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system failed.
    #[error("while reading {what}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nothing in it says what it is.
    #[error(
        "the file begins with {start:02x?}, which is no core that is known (ELF, kdump, flattened kdump, \
         minicore): for an image of raw RAM its layout must be given"
    )]
    Unknown {
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// It is of a kind that is known and not read.
    #[error("the file is {what}: {instead}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What would do.
        instead: &'static str,
    },
    /// It is damaged.
    #[error("the {format} is damaged: {what}")]
    Damaged {
        /// What it says it is.
        format: &'static str,
        /// What makes no sense.
        what: &'static str,
    },
}

impl OpenError {
    /// For `map_err` of a read.
    pub(super) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
