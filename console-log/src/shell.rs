//! What a shell says when it can not do what it was asked.

use serde::{Deserialize, Serialize};

/// Why a shell could not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShellAnswer {
    /// No new process: `can't fork` (dash, busybox), `fork: retry: Resource temporarily unavailable` (bash).
    CannotFork,
    /// No memory.
    NoMemory,
    /// The disk gives errors.
    IoError,
    /// The file system takes no writes.
    ReadOnly,
    /// The disk is full.
    NoSpace,
    /// No such command.
    NotFound,
    /// The kernel or somebody killed the command.
    Killed,
}

/// Reads a line of a shell. Only its own wording counts: `NAME: [LINE: ]MESSAGE` or the bare message.
pub fn shell_answer(text: &str) -> Option<ShellAnswer> {
    const ANSWERS: &[(&str, ShellAnswer)] = &[
        ("can't fork", ShellAnswer::CannotFork),
        ("Cannot fork", ShellAnswer::CannotFork),
        ("fork: Cannot allocate memory", ShellAnswer::CannotFork),
        ("fork: Resource temporarily unavailable", ShellAnswer::CannotFork),
        ("fork: retry: Resource temporarily unavailable", ShellAnswer::CannotFork),
        ("fork failed: resource temporarily unavailable", ShellAnswer::CannotFork),
        ("Cannot allocate memory", ShellAnswer::NoMemory),
        ("out of memory", ShellAnswer::NoMemory),
        ("Input/output error", ShellAnswer::IoError),
        ("I/O error", ShellAnswer::IoError),
        ("Read-only file system", ShellAnswer::ReadOnly),
        ("No space left on device", ShellAnswer::NoSpace),
        ("command not found", ShellAnswer::NotFound),
        ("not found", ShellAnswer::NotFound),
    ];
    let text = text.trim_end();
    if text == "Killed" || text == "Terminated" {
        return Some(ShellAnswer::Killed);
    }
    // The message ends the line, or "can't fork: Resource temporarily unavailable" says why.
    let parts = || text.split(": ").enumerate();
    if !parts().any(|it| it.0 > 0) && !text.starts_with("can't fork") && !text.starts_with("Cannot fork") {
        return None;
    }
    ANSWERS.iter().find(|it| text.ends_with(it.0) || parts().any(|part| part.1 == it.0)).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_of_all_kinds_are_understood() {
        for (text, answer) in [
            ("sh: can't fork", ShellAnswer::CannotFork),
            ("sh: can't fork: Resource temporarily unavailable", ShellAnswer::CannotFork),
            ("-sh: 12: Cannot fork", ShellAnswer::CannotFork),
            ("-bash: fork: retry: Resource temporarily unavailable", ShellAnswer::CannotFork),
            ("bash: fork: Cannot allocate memory", ShellAnswer::CannotFork),
            ("-bash: /usr/bin/uptime: Input/output error", ShellAnswer::IoError),
            ("sh: uptime: not found", ShellAnswer::NotFound),
            ("Killed", ShellAnswer::Killed),
        ] {
            assert_eq!(shell_answer(text), Some(answer), "{text}");
        }
        for text in ["", "file not found", " 02:08:17 up 1 min,  0 users,  load average: 0.00", "can't be"] {
            assert_eq!(shell_answer(text), None, "{text}");
        }
    }
}
