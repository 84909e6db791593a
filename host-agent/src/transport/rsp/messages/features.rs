//! `qXfer:features:read`: a file of the target description, in pages.

use super::{AnswerError, failure};

/// Longest file taken (QEMU's largest, aarch64 system registers, is about 60 KiB).
pub const MAX_FILE: usize = 1 << 20;

/// Asks for `length` bytes of `file` from `offset` on.
#[must_use]
pub fn read(file: &str, offset: usize, length: usize) -> Vec<u8> {
    format!("qXfer:features:read:{file}:{offset:x},{length:x}").into_bytes()
}

/// Appends a page to `text`; true when it was the last.
///
/// # Errors
/// [`AnswerError`]; also when the file grows past [`MAX_FILE`] or a page that is not the last is empty.
pub fn page(answer: &[u8], text: &mut Vec<u8>) -> Result<bool, AnswerError> {
    let (last, page) = match answer {
        [b'l', page @ ..] => (true, page),
        [b'm', page @ ..] if !page.is_empty() => (false, page),
        other => return Err(failure(other)),
    };
    if text.len() + page.len() > MAX_FILE {
        return Err(AnswerError::Unexpected("description too long".to_owned()));
    }
    text.extend_from_slice(page);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_joined_and_an_endless_file_ends() {
        let mut text = Vec::new();
        assert_eq!(page(b"mab", &mut text), Ok(false));
        assert_eq!(page(b"lc", &mut text), Ok(true));
        assert_eq!(text, b"abc");
        assert!(page(b"m", &mut text).is_err());
        assert_eq!(page(b"", &mut text), Err(AnswerError::Unsupported));
    }
}
