//! The rules of the guest's state as the actor applies them.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, advance};
use vmward_model::observed::MonitorHealth;
use vmward_model::{EventKind, GuestState, Severity};

use super::seen::{Console, Monitor, Process, Seen, Trouble};
use super::view::{GRACE, View};

fn status(it: &str) -> Seen {
    let (health, why) = (MonitorHealth::Answers, String::new());
    Seen::Monitor(Monitor { health, status: Some(it.into()), why })
}

fn silent() -> Seen {
    let why = "no answer to query-status in 2 s".to_owned();
    Seen::Monitor(Monitor { health: MonitorHealth::Silent, status: None, why })
}

fn event(name: &str, data: serde_json::Value) -> Seen {
    Seen::Qmp { name: name.into(), data }
}

async fn running() -> View {
    let mut view = View::new(Instant::now());
    view.take(status("running"), Instant::now());
    advance(GRACE * 2).await;
    assert_eq!(view.excuse(Instant::now()), None);
    view
}

#[tokio::test(start_paused = true)]
async fn a_paused_guest_is_excused_and_for_a_moment_after_it_resumed() {
    let mut view = running().await;
    view.take(event("STOP", json!({})), Instant::now());
    assert_eq!(view.state, GuestState::Paused);
    advance(Duration::from_secs(3600)).await;
    assert!(view.excuse(Instant::now()).is_some());
    assert!(view.take(event("RESUME", json!({})), Instant::now()).excuse);
    assert!(view.excuse(Instant::now()).is_some());
    advance(GRACE).await;
    assert_eq!(view.excuse(Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_lasts_until_the_guest_shows_life_and_is_a_new_boot() {
    let mut view = running().await;
    view.take(Seen::Console(Console::Label { rule: "write".into() }), Instant::now());
    let moved = view.take(event("RESET", json!({"guest": true, "reason": "guest-reset"})), Instant::now());
    assert!(moved.new_boot && view.console.labels.is_empty());
    assert_eq!((view.boot, view.state), (1, GuestState::Rebooting));
    view.take(status("running"), Instant::now());
    assert_eq!(view.state, GuestState::Rebooting);
    view.take(Seen::Console(Console::Label { rule: "write".into() }), Instant::now());
    assert_eq!(view.state, GuestState::Running);
}

#[tokio::test(start_paused = true)]
async fn the_stop_that_follows_a_panic_does_not_cover_it() {
    let mut view = running().await;
    view.take(event("GUEST_PANICKED", json!({"action": "pause"})), Instant::now());
    view.take(event("STOP", json!({})), Instant::now());
    assert_eq!(view.state, GuestState::Panicked);
    assert_eq!(view.excuse(Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_is_not_silence_and_two_are() {
    let mut view = running().await;
    view.take(silent(), Instant::now());
    assert_eq!(view.state, GuestState::Running);
    view.take(silent(), Instant::now());
    assert_eq!(view.state, GuestState::Silent);
    view.take(status("running"), Instant::now());
    assert_eq!(view.state, GuestState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_qemu_is_silent_at_once_and_what_was_missed_is_excused() {
    let mut view = running().await;
    view.take(Seen::Process(Process::Stopped), Instant::now());
    assert_eq!(view.state, GuestState::Silent);
    assert_eq!(view.excuse(Instant::now()), None, "a stopped QEMU is no excuse");
    assert!(view.take(Seen::Process(Process::Alive), Instant::now()).excuse);
    assert!(view.excuse(Instant::now()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_live_migration_is_told_by_its_events() {
    let mut view = running().await;
    view.take(event("MIGRATION", json!({"status": "active"})), Instant::now());
    view.take(status("running"), Instant::now());
    assert_eq!(view.state, GuestState::Migrating);
    view.take(event("MIGRATION", json!({"status": "failed"})), Instant::now());
    view.take(status("running"), Instant::now());
    assert_eq!(view.state, GuestState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_trouble_is_bounded_and_counted() {
    let mut view = running().await;
    let mut events = 0;
    for n in 0..10_000 {
        let title = format!("BUG {n}");
        let trouble = super::seen::Trouble {
            kind: "bug".into(),
            title,
            source: "console".into(),
            fatal: false,
            bytes: (0, 1),
        };
        let moved = view.take(Seen::Console(Console::Trouble(trouble)), Instant::now());
        events += moved.events.iter().filter(|it| matches!(it.1, EventKind::ConsoleTrouble { .. })).count();
    }
    assert_eq!(view.trouble.len(), events);
    assert_eq!(view.more_trouble as usize + events, 10_000);
    assert!(events < 100);
}

fn trouble(kind: &str, title: &str, fatal: bool) -> Seen {
    let (title, source) = (title.to_owned(), "console".to_owned());
    Seen::Console(Console::Trouble(Trouble { kind: kind.into(), title, source, fatal, bytes: (1, 2) }))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_errors_of_a_disk_do_not_hide_the_panic_that_they_end_in() {
    let mut view = running().await;
    for n in 0..1000 {
        view.take(trouble("io-error", &format!("I/O error, dev vda, sector {n}"), false), Instant::now());
    }
    let kept = view.trouble.len();
    let moved = view.take(trouble("panic", "Kernel panic - not syncing: hung_task", true), Instant::now());
    let told = |it: &(Severity, EventKind)| {
        it.0 == Severity::Crit && matches!(it.1, EventKind::ConsoleTrouble { .. })
    };
    assert!(moved.events.iter().any(told), "{moved:?}");
    assert!(view.trouble.iter().any(|(it, _)| it.fatal));
    assert_eq!((view.trouble.len(), view.more_trouble), (kept, 1000 + 1 - kept as u64));
    let moved = view.take(trouble("panic", "Kernel panic - not syncing: again", true), Instant::now());
    assert!(moved.events.is_empty() && view.trouble.len() == kept, "a flood of panics is bounded as well");
}
