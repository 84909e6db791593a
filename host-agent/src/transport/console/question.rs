//! One question typed at a shell, and its answer found in the console's bytes.
//!
//! The command is framed by two markers with a random part. What is typed writes each marker with an
//! empty pair of quotes inside, so the terminal's echo of the typed line never looks like the marker
//! that the shell prints. Works in any Bourne shell; the leading blank keeps it out of the history of
//! shells that honour that.

use vmward_console_log::{ShellAnswer, shell_answer};

use super::text::{plain, without_kernel_records};

/// A command that may be typed: one line of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    command: String,
    nonce: String,
}

/// What the shell answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Output between the markers, without kernel records, lines ended by `\n`.
    pub text: String,
    /// Exit status.
    pub status: Option<u8>,
    /// Kernel records that stood between.
    pub kernel_records: usize,
}

/// Longest command: a line discipline takes 4095 bytes, and our frame needs some.
const MAX_COMMAND: usize = 1024;
/// Most bytes of an answer that are looked at.
pub const MAX_ANSWER: usize = 128 << 10;

impl Question {
    /// Frames `command`; `None` when it is empty, too long or not printable ASCII.
    #[must_use]
    pub fn new(command: &str) -> Option<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self::with_nonce(command, id.get(..10)?)
    }

    fn with_nonce(command: &str, nonce: &str) -> Option<Self> {
        let plain = command.bytes().all(|b| (b' '..=b'~').contains(&b));
        (plain && !command.trim().is_empty() && command.len() <= MAX_COMMAND)
            .then(|| Self { command: command.trim().to_owned(), nonce: nonce.to_owned() })
    }

    /// The command without its frame.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The line to type, with the CR.
    #[must_use]
    pub fn typed(&self) -> String {
        let Self { command, nonce } = self;
        format!(" echo VW''A{nonce}; {command}; echo VW''Z{nonce}:$?\r")
    }

    /// True when the end of the answer is there, whatever became of its beginning.
    #[must_use]
    pub fn ended(&self, bytes: &[u8]) -> bool {
        let (clean, _) = without_kernel_records(&plain(bytes));
        position(&clean, format!("VWZ{}:", self.nonce).as_bytes()).is_some()
            || self.given_up(&clean).is_some()
    }

    /// A shell that cannot fork gives up the whole line it was typed, the closing marker with it: its
    /// complaint behind the opening marker is then the answer. `clean` has no kernel records.
    fn given_up(&self, clean: &[u8]) -> Option<Found> {
        let begin = format!("VWA{}", self.nonce);
        let after = clean.get(position(clean, begin.as_bytes())? + begin.len()..)?;
        let text = String::from_utf8_lossy(after);
        // Whole lines only; bash says "retry" while it goes on trying.
        let whole = text.rsplit_once('\n')?.0;
        let complaint = whole
            .lines()
            .find(|line| shell_answer(line) == Some(ShellAnswer::CannotFork) && !line.contains("retry"))?;
        Some(Found { text: format!("{}\n", complaint.trim_end()), status: None, kernel_records: 0 })
    }

    /// Looks for the whole answer in what came since the command was typed.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        let begin = format!("VWA{}", self.nonce);
        let end = format!("VWZ{}:", self.nonce);
        let text = plain(bytes);
        let (clean, _) = without_kernel_records(&text);
        let from = position(&clean, begin.as_bytes())? + begin.len();
        let after = clean.get(from..)?;
        let Some(to) = position(after, end.as_bytes()) else { return self.given_up(&clean) };
        let body = after.get(..to)?;
        let tail = after.get(to + end.len()..)?;
        // The status must be whole: its line has ended.
        let line_end = tail.iter().position(|b| *b == b'\n')?;
        let status = std::str::from_utf8(tail.get(..line_end)?).ok().and_then(|s| s.trim().parse().ok());
        let body = body.strip_prefix(b"\n").unwrap_or(body);
        let raw_from = position(&text, begin.as_bytes()).unwrap_or(0);
        let raw_to = text.len().saturating_sub(tail.len()).max(raw_from);
        let (_, kernel_records) = without_kernel_records(text.get(raw_from..raw_to).unwrap_or_default());
        Some(Found { text: String::from_utf8_lossy(body).into_owned(), status, kernel_records })
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uptime() -> Question {
        Question::with_nonce("uptime", "0123456789").unwrap()
    }

    #[test]
    fn the_echo_of_the_typed_line_is_not_taken_for_the_answer() {
        let echo = uptime().typed().replace('\r', "\r\n");
        assert_eq!(uptime().find(echo.as_bytes()), None);
        let all = format!("{echo}VWA0123456789\r\n 12:00 up 1 min\r\nVWZ0123456789:0\r\n/ # ");
        assert_eq!(
            uptime().find(all.as_bytes()),
            Some(Found { text: " 12:00 up 1 min\n".into(), status: Some(0), kernel_records: 0 })
        );
    }

    #[test]
    fn kernel_records_in_the_middle_of_marker_and_answer_do_not_hide_it() {
        let all = b"VWA01234[    3.000001] a\r\n56789\r\nup[    3.000002] b\r\n 1 min\r\nVWZ0123456789:[    3.000003] c\r\n127\r\n";
        let found = uptime().find(all).unwrap();
        assert_eq!(found.text, "up 1 min\n");
        assert_eq!(found.status, Some(127));
    }

    #[test]
    fn a_real_shell_answers_the_typed_line() {
        let question = Question::new("echo one; false").unwrap();
        let out =
            std::process::Command::new("sh").arg("-c").arg(question.typed().trim_end()).output().unwrap();
        let found = question.find(&out.stdout).unwrap();
        assert_eq!((found.text.as_str(), found.status), ("one\n", Some(1)));
    }

    #[test]
    fn a_shell_that_cannot_fork_has_answered_though_it_gave_up_the_line() {
        // As busybox 1.35 wrote it in a cgroup whose pids.max was reached.
        let echo = uptime().typed().replace('\r', "\r\n");
        let all =
            format!("{echo}VWA0123456789\r\nsh: can't fork: Resource temporarily unavailable\r\npatient# ");
        let found = uptime().find(all.as_bytes()).unwrap();
        assert_eq!(found.text, "sh: can't fork: Resource temporarily unavailable\n");
        assert!(uptime().ended(all.as_bytes()));
        let retrying =
            format!("{echo}VWA0123456789\r\nbash: fork: retry: Resource temporarily unavailable\r\n");
        assert_eq!(uptime().find(retrying.as_bytes()), None);
    }

    #[test]
    fn control_bytes_cannot_be_typed() {
        assert_eq!(Question::new("uptime\rreboot"), None);
        assert_eq!(Question::new("\u{1}x"), None);
        assert_eq!(Question::new(" "), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_searched_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut all = b"VWA0123456789".to_vec();
            all.extend_from_slice(&bytes);
            all.extend_from_slice(b"VWZ0123456789:");
            let _ = uptime().find(&all);
        }
    }
}
