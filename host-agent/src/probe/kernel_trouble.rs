//! `kernel-trouble`: the kernel or QEMU says itself that the guest is in trouble.
//!
//! What: what the scenario names of the trouble on the console (panic, oops and BUG lines where it
//! names nothing) and of QMP's [`EVENTS`]. Event-driven: it is asked the moment one of them is seen.
//! Why: it is the surest and fastest sign that there is.
//! Evidence: the title of the report.
//! False alarms: a program that prints old kernel logs to the console.
//! Cost to the guest: none.

use std::time::Duration;

use tokio::time::Instant;
use vmward_model::{Class, Confidence, TransportKind};

use super::{Probe, Said, Settings, Step};
use crate::agent::guest::seen::{Console, Seen, Trouble};
use crate::agent::guest::view::View;

pub(super) struct KernelTrouble;

/// A kernel that went on after an oops counts as in trouble for so long after the last report.
const HOLD: Duration = Duration::from_secs(60);
/// Kinds that count where the scenario names none, as `vmward_console_log` calls them: panic, oops
/// and BUG in their several forms.
const DEFAULT: &[&str] = &[
    "panic",
    "init-died",
    "no-root",
    "null-deref",
    "page-fault",
    "general-protection",
    "double-fault",
    "stack-overflow",
    "oops",
    "bug",
];

/// QMP events by which QEMU tells that the guest's kernel gave up (QEMU's `qapi/run-state.json`).
/// SHUTDOWN is one only with the reason `guest-panic`.
pub const EVENTS: &[&str] = &["GUEST_PANICKED", "GUEST_CRASHLOADED", "SHUTDOWN"];

/// Whether the scenario watches for this. One that names nothing at all watches for the usual.
fn is_watched(it: &Trouble, settings: &Settings) -> bool {
    let usual = settings.kinds.is_empty() && settings.events.is_empty();
    match it.source.strip_prefix("event:") {
        Some(event) if usual => EVENTS.contains(&event),
        Some(event) => settings.events.iter().any(|name| name == event),
        None if usual => DEFAULT.contains(&it.kind.as_str()),
        None => settings.kinds.contains(&it.kind),
    }
}

impl Probe for KernelTrouble {
    fn name(&self) -> &'static str {
        "kernel-trouble"
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Console
    }

    fn excused(&self) -> bool {
        false
    }

    fn wakes_on(&self, seen: &Seen) -> bool {
        match seen {
            Seen::Console(Console::Trouble(_)) => true,
            Seen::Qmp { name, .. } => EVENTS.contains(&&**name),
            _ => false,
        }
    }

    fn begin(&self, view: &View, settings: &Settings, now: Instant) -> Step {
        let lasts = |(it, at): &&(Trouble, Instant)| {
            is_watched(it, settings) && (it.fatal || now.saturating_duration_since(*at) < HOLD)
        };
        let all: Vec<&Trouble> = view.trouble.iter().filter(lasts).map(|(it, _)| it).collect();
        // What stops the kernel says more than what came before it.
        let Some(worst) = all.iter().find(|it| it.fatal).or(all.first()) else {
            return Step::Say(match &view.console.link {
                Err(why) if view.monitor.is_none() => {
                    Said::unknown(format!("neither console nor monitor can be read: {why}"))
                }
                _ => Said::pass(),
            });
        };
        let more = match all.len() {
            1 => String::new(),
            n => format!(" ({} more reports)", n.saturating_sub(1)),
        };
        let said = Said::fail(format!("{}: {}{more}", worst.source, worst.title)).at_once();
        let class = if worst.fatal { Class::Panicked } else { Class::Suspect };
        Step::Say(said.of(class, Confidence::Certain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_model::Answer;

    fn trouble(kind: &str, fatal: bool) -> Seen {
        let (title, source) = (format!("{kind} somewhere"), "console".to_owned());
        Seen::Console(Console::Trouble(Trouble { kind: kind.into(), title, source, fatal, bytes: (1, 2) }))
    }

    fn ask(view: &View) -> Said {
        ask_for(view, &[], &[])
    }

    fn ask_for(view: &View, kinds: &[&str], events: &[&str]) -> Said {
        let all = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let settings = Settings { kinds: all(kinds), events: all(events), ..Settings::default() };
        match KernelTrouble.begin(view, &settings, Instant::now()) {
            Step::Say(said) => said,
            Step::Shell => panic!("it types nothing"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_oops_counts_for_a_while_and_a_panic_until_the_next_boot() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Console(Console::Link(Ok(()))), Instant::now());
        assert_eq!(ask(&view).answer, Answer::Pass);
        view.take(trouble("oops", false), Instant::now());
        assert_eq!(ask(&view).class, Class::Suspect);
        tokio::time::advance(HOLD).await;
        assert_eq!(ask(&view).answer, Answer::Pass);
        view.take(trouble("panic", true), Instant::now());
        tokio::time::advance(HOLD * 100).await;
        let said = ask(&view);
        assert_eq!((said.class, said.alarms_untried), (Class::Panicked, true));
        let data = serde_json::json!({"guest": true, "reason": "guest-reset"});
        view.take(Seen::Qmp { name: "RESET".into(), data }, Instant::now());
        assert_eq!(ask(&view).answer, Answer::Pass);
    }

    #[tokio::test]
    async fn only_what_the_scenario_names_counts() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Console(Console::Link(Ok(()))), Instant::now());
        let data = serde_json::json!({"action": "pause"});
        view.take(Seen::Qmp { name: "GUEST_PANICKED".into(), data }, Instant::now());
        let fails = |said: Said| matches!(said.answer, Answer::Fail(_));
        assert!(fails(ask(&view)));
        assert!(fails(ask_for(&view, &[], &["GUEST_PANICKED"])));
        assert!(!fails(ask_for(&view, &[], &["SHUTDOWN"])));
        assert!(!fails(ask_for(&view, &["panic"], &[])), "nothing of it stood on the console");
        view.take(trouble("panic", true), Instant::now());
        assert!(fails(ask_for(&view, &["panic"], &[])));
        assert!(!fails(ask_for(&view, &["hung-task"], &[])));
        assert!(!fails(ask_for(&view, &[], &["SHUTDOWN"])));
    }

    #[tokio::test]
    async fn a_stall_warning_is_not_among_what_counts_by_default() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Console(Console::Link(Ok(()))), Instant::now());
        view.take(trouble("hung-task", false), Instant::now());
        assert_eq!(ask(&view).answer, Answer::Pass);
    }
}
