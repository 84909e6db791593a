//! `g` and `p`: registers of the selected thread.

use super::{AnswerError, failure, hex};

/// All registers of the general group.
pub const ALL: &[u8] = b"g";

/// One register by its number in the description (system registers of aarch64 are not in `g`).
#[must_use]
pub fn one(number: u32) -> Vec<u8> {
    format!("p{number:x}").into_bytes()
}

/// Reads the answer to either: bytes in the target's order, `None` for each that it does not know.
///
/// # Errors
/// [`AnswerError`].
pub fn bytes(answer: &[u8]) -> Result<Vec<Option<u8>>, AnswerError> {
    hex(answer).ok_or_else(|| failure(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_bytes_are_told_apart() {
        assert_eq!(bytes(b"0fxxA0"), Ok(vec![Some(15), None, Some(0xa0)]));
        assert_eq!(bytes(b"E22"), Err(AnswerError::Refused("E22".into())));
        assert!(bytes(b"0g").is_err());
    }
}
