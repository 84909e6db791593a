//! What the last line of a console asks for. Decides what is never answered.
//!
//! The prompts of firmware, bootloaders, getty, cryptsetup and fsck are known to `vmward-console-log`;
//! here is only what a scenario declares.

use vmward_console_log::{PromptKind, prompt_kind};

/// A prompt that is never typed at.
pub type Forbidden = PromptKind;

/// What the given last line forbids, if anything.
#[must_use]
pub fn forbidden(line: &str) -> Option<Forbidden> {
    prompt_kind(line).filter(|kind| kind.must_not_be_answered())
}

/// A prompt that a scenario declares: the text that its line ends with, such as `# `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPrompt(String);

impl DeclaredPrompt {
    /// Takes the end of the prompt; trailing blanks do not matter. `None` when nothing else is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bare = text.trim_end();
        (!bare.is_empty()).then(|| Self(bare.to_owned()))
    }

    /// True when `line` (see [`super::text::last_line`]) is this prompt with nothing typed after it.
    #[must_use]
    pub fn waits_at(&self, line: &str) -> bool {
        line.trim_end().ends_with(&self.0)
    }

    /// As [`Self::waits_at`], or the line begins with the prompt and a blank: another program's line was
    /// written behind it.
    #[must_use]
    pub fn starts_or_ends(&self, line: &str) -> bool {
        let behind = line.strip_prefix(&self.0);
        self.waits_at(line) || behind.is_some_and(|rest| rest.starts_with(' '))
    }

    /// The declared text, without trailing blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_not_forbidden_and_a_declared_prompt_is_matched_at_its_end() {
        let prompt = DeclaredPrompt::new("# ").unwrap();
        for line in ["root@vm:~#", "/ # ", "#"] {
            assert_eq!(forbidden(line), None, "{line}");
            assert!(prompt.waits_at(line), "{line}");
        }
        assert!(!prompt.waits_at("root@vm:~# rm -rf"));
        assert_eq!(DeclaredPrompt::new("  "), None);
    }
}
