//! The bytes of a record as text.

use std::fmt::Write;

/// Bytes as text; what is no UTF-8 is written `\xNN`, as `/dev/kmsg` does, so that nothing is lost.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A text that ends at its NUL; `None` if it is empty.
pub(super) fn name_of(bytes: &[u8]) -> Option<String> {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    (end > 0).then(|| text_of(&bytes[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        assert_eq!(text_of(b"ok \xff\xfe \xc3\xa9"), "ok \\xff\\xfe \u{e9}");
        assert_eq!(name_of(b"pci\0\0\0"), Some("pci".into()));
        assert_eq!(name_of(b"\0pci"), None);
        assert_eq!(name_of(b"full"), Some("full".into()));
    }
}
