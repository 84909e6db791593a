//! From the answers of one round to what the verdict is told: excuses, boots that are stuck, the
//! worst answer of several. Pure.

use std::time::Duration;

use tokio::time::Instant;
use vmward_model::observed::BootPhase;
use vmward_model::{Answer, Class, Confidence, GuestState, Stamp};

use super::scenario::{Ask, BootDeadlines, Scenario};
use super::view::View;
use crate::probe::{Said, seconds};
use crate::verdict::{Round, weight, worst};

/// One answer of a round, as it counts.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Which probe.
    pub probe: &'static str,
    /// What it said, after excuses.
    pub said: Said,
    /// How long it took.
    pub took: Duration,
}

/// What an answer counts for, given what is known of the guest.
pub fn count(view: &View, scenario: &Scenario, ask: &Ask, said: Said, now: Instant) -> Said {
    if !ask.probe.excused() || said.answer == Answer::Pass {
        return said;
    }
    if let Some(why) = boot_stuck(view, scenario.boot, now) {
        return Said::fail(why).of(Class::BootStuck, Confidence::Likely).at_once();
    }
    match (&said.answer, view.excuse(now)) {
        (Answer::Fail(seen), Some(excuse)) => Said::unknown(format!("{excuse} ({seen})")),
        _ => said,
    }
}

/// Whether something may be typed at all: a guest that does not run cannot answer.
pub fn may_type(view: &View) -> Result<(), String> {
    match view.state {
        GuestState::Paused | GuestState::Migrating | GuestState::Saving | GuestState::ShutDown => {
            Err(format!("the guest is {}", crate::agent::guest::view::name(view.state)))
        }
        _ => Ok(()),
    }
}

/// A boot that was seen and is not over after its deadline. A guest whose boot was never seen (a
/// unikernel, or one found running with a silent console) is not called stuck.
fn boot_stuck(view: &View, deadlines: BootDeadlines, now: Instant) -> Option<String> {
    if !matches!(view.state, GuestState::Running | GuestState::Rebooting | GuestState::Unknown) {
        return None;
    }
    let phase = view.console.phase?;
    let began = view.boot_began.unwrap_or(view.found);
    let takes = now.saturating_duration_since(began);
    let over = matches!(phase, BootPhase::Up | BootPhase::ShuttingDown) || !view.console.labels.is_empty();
    let deadline = if phase == BootPhase::WaitsForRoot { deadlines.root } else { deadlines.whole };
    if over || takes <= deadline {
        return None;
    }
    let at = match phase {
        BootPhase::Firmware => "in firmware or bootloader",
        BootPhase::Kernel => "in the kernel",
        BootPhase::WaitsForRoot => "waiting for its root device",
        _ => "in its init",
    };
    Some(format!("the boot is not over after {}; it was last seen {at}", seconds(takes)))
}

/// The round as the verdict sees it.
pub fn sum(answers: &[Counted], at: Stamp) -> Round {
    let answer = worst(answers.iter().map(|it| &it.said.answer));
    let failed = answers.iter().map(|it| &it.said).filter(|it| matches!(it.answer, Answer::Fail(_)));
    let heaviest = failed.max_by_key(|it| (weight(it.class), it.confidence));
    Round {
        at,
        answer,
        class: heaviest.map_or(Class::Well, |it| it.class),
        confidence: heaviest.map_or(Confidence::Possible, |it| it.confidence),
        alarms_untried: heaviest.is_some_and(|it| it.alarms_untried),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::guest::seen::{Console, Seen};
    use crate::probe::{Settings, named};
    use crate::verdict::Rule;

    fn scenario() -> Scenario {
        let asks = vec![Ask { probe: named("console-label").unwrap(), settings: Settings::default() }];
        let every = Duration::from_secs(1);
        let boot = BootDeadlines { whole: Duration::from_secs(60), root: Duration::from_secs(20) };
        Scenario { name: "app-label".into(), every, rule: Rule::AT_ONCE, asks, boot }
    }

    fn counted(view: &View) -> Said {
        let scenario = scenario();
        count(view, &scenario, &scenario.asks[0], Said::fail("no label"), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_boot_that_waits_for_its_root_is_stuck_after_its_deadline() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Console(Console::Phase(BootPhase::Kernel)), Instant::now());
        view.take(Seen::Console(Console::Phase(BootPhase::WaitsForRoot)), Instant::now());
        tokio::time::advance(Duration::from_secs(19)).await;
        assert_eq!(counted(&view).class, Class::Suspect);
        assert!(!counted(&view).alarms_untried);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((counted(&view).class, counted(&view).alarms_untried), (Class::BootStuck, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_boot_that_goes_on_has_the_whole_deadline() {
        let mut view = View::new(Instant::now());
        view.take(Seen::Console(Console::Phase(BootPhase::Kernel)), Instant::now());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!counted(&view).alarms_untried);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(counted(&view).class, Class::BootStuck);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_whose_boot_was_never_seen_is_not_called_stuck() {
        let view = View::new(Instant::now());
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(!counted(&view).alarms_untried);
    }
}
