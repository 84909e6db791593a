//! `console-label`: the application's log label has to come often enough.
//!
//! What: the time since the last line that the scenario's rule recognised.
//! Why: a label after each finished piece of work shows that the whole way works, disk included;
//! a shell still answers when every writer waits for a dead disk.
//! Evidence: how long the label has been away and how many came before.
//! False alarms: an application that is idle by design needs a larger `max-gap`.
//! Cost to the guest: none, nothing is typed.

use tokio::time::Instant;
use vmward_model::{Class, Confidence, TransportKind};

use super::{Probe, Said, Settings, Step, seconds};
use crate::agent::guest::seen::{Process, Seen};
use crate::agent::guest::view::View;

pub(super) struct ConsoleLabel;

impl Probe for ConsoleLabel {
    fn name(&self) -> &'static str {
        "console-label"
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Console
    }

    fn wakes_on(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Process(_))
    }

    fn begin(&self, view: &View, settings: &Settings, now: Instant) -> Step {
        // No label can come from a guest whose QEMU does not run.
        match view.process {
            Process::Alive => {}
            Process::Gone if view.leaving => {
                return Step::Say(Said::unknown("QEMU ended as it had announced"));
            }
            Process::Gone => {
                let said = Said::fail("no label can come: QEMU's process is gone");
                return Step::Say(said.of(Class::QemuGone, Confidence::Certain).at_once());
            }
            Process::Stopped => {
                let said = Said::fail("no label can come: QEMU's process is stopped (state T)");
                return Step::Say(said.of(Class::QemuStuck, Confidence::Certain).at_once());
            }
        }
        if let Err(why) = &view.console.link {
            return Step::Say(Said::unknown(format!("the console cannot be used: {why}")));
        }
        let Some((count, last)) = view.console.labels.get(&settings.label) else {
            return Step::Say(Said::fail("the label was not seen in this boot"));
        };
        let away = now.saturating_duration_since(*last);
        Step::Say(if away <= settings.max_gap {
            Said::pass()
        } else {
            let (away, gap) = (seconds(away), seconds(settings.max_gap));
            Said::fail(format!("no label for {away} (at most {gap} allowed); {count} came before"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::guest::seen::Console;
    use vmward_model::Answer;

    #[tokio::test(start_paused = true)]
    async fn a_label_that_stays_away_fails_and_a_console_that_is_not_read_is_unknown() {
        let settings =
            Settings { label: "write".into(), max_gap: Duration::from_secs(2), ..Settings::default() };
        let ask = |view: &View| match ConsoleLabel.begin(view, &settings, Instant::now()) {
            Step::Say(said) => said.answer,
            Step::Shell => panic!("it types nothing"),
        };
        let mut view = View::new(Instant::now());
        assert!(matches!(ask(&view), Answer::Unknown(_)));
        view.take(Seen::Console(Console::Link(Ok(()))), Instant::now());
        view.take(Seen::Console(Console::Label { rule: "write".into() }), Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(ask(&view), Answer::Pass);
        tokio::time::advance(Duration::from_millis(600)).await;
        let Answer::Fail(why) = ask(&view) else { panic!("not noticed") };
        assert!(why.starts_with("no label for 2.6 s"), "{why}");
    }
}
