//! `console-command`: a command typed on the console has to be answered.
//!
//! What: types the scenario's command (`uptime`) at a prompt and waits for its answer.
//! Why: the way through tty, shell, fork, exec and page cache is what a user needs.
//! Evidence: the answer's time, or what came instead.
//! False alarms: a person at the console, a prompt that is not the shell's: both are Unknown.
//! Cost to the guest: one short process a round.

use tokio::time::Instant;
use vmward_model::{Class, Confidence, TransportKind};

use super::{Probe, Said, Settings, Step, seconds};
use crate::agent::guest::seen::ShellReply;
use crate::agent::guest::view::View;

pub(super) struct ConsoleCommand;

impl Probe for ConsoleCommand {
    fn name(&self) -> &'static str {
        "console-command"
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Console
    }

    fn begin(&self, view: &View, _settings: &Settings, _now: Instant) -> Step {
        if view.console.person {
            return Step::Say(Said::unknown("a person is at the console"));
        }
        match &view.console.link {
            Err(why) => Step::Say(Said::unknown(format!("the console cannot be used: {why}"))),
            Ok(()) => Step::Shell,
        }
    }

    fn read(&self, view: &View, settings: &Settings, reply: &ShellReply, now: Instant) -> Said {
        match reply {
            ShellReply::Answered { .. } => Said::pass(),
            ShellReply::Said { text, took } => {
                Said::fail(format!("`{}` gave {text:?} after {}", settings.command, seconds(*took)))
            }
            ShellReply::Silent { waited } => {
                let said =
                    Said::fail(format!("`{}` had no answer in {}", settings.command, seconds(*waited)));
                // Labels pass through the same console: then it is the shell that is lost.
                let fresh = |at: Instant| now.saturating_duration_since(at) < *waited;
                match view.console.labels.values().any(|(_, last)| fresh(*last)) {
                    true => said.of(Class::ConsoleLost, Confidence::Possible),
                    false => said,
                }
            }
            ShellReply::Refused(why) => Said::unknown(format!("nothing was typed: {why}")),
            ShellReply::Unreachable(why) => Said::unknown(format!("the console cannot be used: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::guest::seen::{Console, Seen};
    use vmward_model::Answer;

    fn read(view: &View, reply: ShellReply) -> Said {
        ConsoleCommand.read(view, &Settings::default(), &reply, Instant::now())
    }

    #[tokio::test]
    async fn a_person_or_a_guard_is_never_held_against_the_guest() {
        let mut view = View::new(Instant::now());
        let begin = |view: &View| ConsoleCommand.begin(view, &Settings::default(), Instant::now());
        assert!(matches!(begin(&view), Step::Say(Said { answer: Answer::Unknown(_), .. })));
        view.take(Seen::Console(Console::Link(Ok(()))), Instant::now());
        assert!(matches!(begin(&view), Step::Shell));
        view.take(Seen::Console(Console::Person(true)), Instant::now());
        assert!(matches!(begin(&view), Step::Say(Said { answer: Answer::Unknown(_), .. })));
        let refused = read(&view, ShellReply::Refused("a login prompt waits".into()));
        assert!(matches!(refused.answer, Answer::Unknown(_)));
    }

    #[tokio::test]
    async fn silence_with_fresh_labels_points_at_the_shell_alone() {
        let mut view = View::new(Instant::now());
        let silent = ShellReply::Silent { waited: Duration::from_secs(5) };
        assert_eq!(read(&view, silent.clone()).class, Class::Suspect);
        view.take(Seen::Console(Console::Label { rule: "write".into() }), Instant::now());
        assert_eq!(read(&view, silent).class, Class::ConsoleLost);
    }
}
