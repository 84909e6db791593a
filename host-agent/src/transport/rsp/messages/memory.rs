//! `m`: memory of the selected thread, or guest-physical memory in physical mode.

use super::{AnswerError, failure, hex};

/// Asks for `length` bytes.
#[must_use]
pub fn read(address: u64, length: usize) -> Vec<u8> {
    format!("m{address:x},{length:x}").into_bytes()
}

/// Fills `out` from the answer, which must have as many bytes.
///
/// # Errors
/// [`AnswerError`].
pub fn bytes(answer: &[u8], out: &mut [u8]) -> Result<(), AnswerError> {
    let all: Option<Vec<u8>> = hex(answer).and_then(|it| it.into_iter().collect());
    let all = all.filter(|it| it.len() == out.len()).ok_or_else(|| failure(answer))?;
    out.copy_from_slice(&all);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_length_is_none() {
        assert_eq!(read(0x1000, 16), b"m1000,10");
        let mut out = [0; 2];
        assert_eq!(bytes(b"0fa0", &mut out), Ok(()));
        assert_eq!(out, [15, 160]);
        assert!(bytes(b"0f", &mut out).is_err());
        assert!(bytes(b"0fxx", &mut out).is_err());
        assert_eq!(bytes(b"E14", &mut out), Err(AnswerError::Refused("E14".into())));
    }
}
