//! The messages that we use, a file for each group: how each is asked and how its answer is read.
//!
//! All readers are total.

pub mod control;
pub mod features;
pub mod memory;
pub mod physical;
pub mod registers;
pub mod threads;

/// An answer that none of the readers expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// `E NN`.
    #[error("the stub refused with {0}")]
    Refused(String),
    /// Empty: not supported.
    #[error("the stub does not know this packet")]
    Unsupported,
    /// Anything else.
    #[error("an answer that makes no sense: {0}")]
    Unexpected(String),
}

/// The error that an answer is, if it is one.
pub(super) fn failure(answer: &[u8]) -> AnswerError {
    match answer {
        [] => AnswerError::Unsupported,
        [b'E', ..] if answer.len() <= 4 => AnswerError::Refused(answer.escape_ascii().to_string()),
        other => {
            let start = other.get(..other.len().min(40)).unwrap_or_default();
            AnswerError::Unexpected(start.escape_ascii().to_string())
        }
    }
}

/// Reads `OK`.
///
/// # Errors
/// [`AnswerError`] for anything else.
pub fn ok(answer: &[u8]) -> Result<(), AnswerError> {
    if answer == b"OK" { Ok(()) } else { Err(failure(answer)) }
}

/// Reads pairs of hexadecimal digits; `xx` is a byte that the target does not know.
pub(super) fn hex(answer: &[u8]) -> Option<Vec<Option<u8>>> {
    if answer.is_empty() || !answer.len().is_multiple_of(2) {
        return None;
    }
    answer
        .chunks_exact(2)
        .map(|pair| match pair {
            b"xx" => Some(None),
            [high, low] => {
                let high = char::from(*high).to_digit(16)?;
                let low = char::from(*low).to_digit(16)?;
                Some(u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        })
        .collect()
}
