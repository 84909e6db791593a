//! A bound on how much text of the guest is kept.

/// Bytes of text that all tasks together may bring: paths and command lines of 65,536 threads could be
/// half a gigabyte.
const MAX_TEXT: usize = 16 << 20;

/// How much text may still be kept.
#[derive(Debug)]
pub(super) struct TextLimit(usize);

impl TextLimit {
    pub(super) fn new() -> Self {
        Self(MAX_TEXT)
    }

    /// The text, unless there was too much of it before.
    pub(super) fn keep(&mut self, text: Option<String>) -> Option<String> {
        let text = text?;
        self.0 = self.0.checked_sub(text.len())?;
        Some(text)
    }

    /// Whether so many bytes more may be kept, which are then counted.
    pub(super) fn allows(&mut self, len: usize) -> bool {
        match self.0.checked_sub(len) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_until_there_is_too_much() {
        let mut limit = TextLimit(5);
        assert_eq!(limit.keep(Some("abc".into())).as_deref(), Some("abc"));
        assert_eq!(limit.keep(Some("abc".into())), None);
        assert!(limit.allows(2) && !limit.allows(1));
        assert_eq!(limit.keep(None), None);
    }
}
