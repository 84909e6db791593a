//! What the host's `/proc` says of one process: running, stopped, gone.
//!
//! Only `/proc/PID/stat` is read: it takes no lock that a wedged process can hold.

use std::io;

/// State of a process as `/proc/PID/stat` (field 3) gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// There, in the given state letter (`R`, `S`, `D`, `I`).
    Alive(char),
    /// Stopped by a signal or a tracer (`T`, `t`).
    Stopped,
    /// Exited and not yet waited for (`Z`, `X`).
    Zombie,
    /// No such process.
    Gone,
    /// `/proc` did not let us read it.
    Unreadable,
}

impl ProcessState {
    /// True when the process can never answer again.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Gone | Self::Zombie)
    }
}

impl std::fmt::Display for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Alive(letter) => write!(f, "alive, state {letter}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Zombie => f.write_str("exited, not yet reaped"),
            Self::Gone => f.write_str("gone"),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

/// Reads the state of process `pid`.
#[must_use]
pub fn process_state(pid: u32) -> ProcessState {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => parse_state(&stat),
        Err(e) if e.kind() == io::ErrorKind::NotFound => ProcessState::Gone,
        // A process that goes while it is read gives ESRCH.
        Err(e) if e.raw_os_error() == Some(nix::libc::ESRCH) => ProcessState::Gone,
        Err(_) => ProcessState::Unreadable,
    }
}

/// The name that the kernel has for process `pid` (at most 15 bytes, escaped).
#[must_use]
pub fn process_name(pid: u32) -> Option<String> {
    let raw = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(raw.trim_ascii_end().escape_ascii().to_string())
}

/// The name in the second field may hold blanks and parentheses: the state follows the last `)`.
fn parse_state(stat: &[u8]) -> ProcessState {
    let Some(close) = stat.iter().rposition(|b| *b == b')') else {
        return ProcessState::Unreadable;
    };
    match stat.get(close + 1..).map(<[u8]>::trim_ascii_start) {
        Some([b'T' | b't', ..]) => ProcessState::Stopped,
        Some([b'Z' | b'X' | b'x', ..]) => ProcessState::Zombie,
        Some([letter, ..]) => ProcessState::Alive(char::from(*letter)),
        _ => ProcessState::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_hide_the_state() {
        assert_eq!(parse_state(b"12 (a) T (b) S 1 2"), ProcessState::Alive('S'));
        assert_eq!(parse_state(b"12 (x) T 1 2"), ProcessState::Stopped);
        assert_eq!(parse_state(b"12 (x"), ProcessState::Unreadable);
        assert_eq!(parse_state(b"12 (x)"), ProcessState::Unreadable);
    }

    #[test]
    fn a_stopped_child_is_seen_as_stopped_and_a_reaped_one_as_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let mut seen = process_state(child.id());
        for _ in 0..100 {
            if seen == ProcessState::Stopped {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            seen = process_state(child.id());
        }
        assert_eq!(seen, ProcessState::Stopped);
        assert_eq!(process_name(child.id()).as_deref(), Some("sleep"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process_state(child.id()), ProcessState::Gone);
    }
}
