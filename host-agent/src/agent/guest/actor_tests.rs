//! The actor's rules on a clock of their own, with a guest that is played by the test.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use vmward_model::observed::MonitorHealth;
use vmward_model::{Class, Event, EventKind, FORMAT, GuestId, Incarnation, IncidentId, IncidentState};

use super::actor::{Actor, Manner, Shared};
use super::memory::{self, Memory};
use super::order::Order;
use super::ports::{Examined, Job, Later, Ports};
use super::scenario::{Ask, BootDeadlines, Scenario};
use super::seen::{Console, Monitor, Process, Seen, ShellReply, Trouble};
use crate::agent::events::{About, Events, read};
use crate::agent::live::Live;
use crate::agent::rounds::Rounds;
use crate::agent::scribe::Scribe;
use crate::probe::{Settings, named};
use crate::verdict::Rule;

const SECOND: Duration = Duration::from_secs(1);

/// Plays shell and diagnosis.
#[derive(Default)]
struct Stage {
    shell: Mutex<Option<ShellReply>>,
    jobs: Mutex<Vec<Job>>,
    asked: Mutex<Vec<Instant>>,
}

impl Ports for Stage {
    fn shell(&self, _scenario: &str, _settings: &Settings) -> Later<ShellReply> {
        self.asked.lock().unwrap().push(Instant::now());
        let reply = self.shell.lock().unwrap().clone();
        Box::pin(async move {
            match reply {
                Some(reply) => reply,
                None => std::future::pending().await,
            }
        })
    }

    fn ask_status(&self) {}

    fn rebooted(&self) {}

    fn examine(&self, job: Job) -> Later<Result<Examined, String>> {
        let class = job.opening.class;
        self.jobs.lock().unwrap().push(job);
        Box::pin(async move {
            sleep(5 * SECOND).await;
            Ok(Examined { class, summary: "played".into(), bundle: "/nowhere".into() })
        })
    }
}

struct Play {
    dir: tempfile::TempDir,
    stage: Arc<Stage>,
    seen: mpsc::Sender<Seen>,
    orders: mpsc::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

fn scenario(name: &str, probe: &str, rule: Rule) -> Scenario {
    let settings = Settings { label: "write".into(), max_gap: 2 * SECOND, ..Settings::default() };
    let asks = vec![Ask { probe: named(probe).unwrap(), settings }];
    Scenario {
        name: name.into(),
        every: SECOND,
        rule,
        asks,
        boot: BootDeadlines { whole: 60 * SECOND, root: 20 * SECOND },
    }
}

fn guest() -> (About, Memory) {
    let incarnation = Incarnation { pid: 7, start_ticks: 9, boot: 0 };
    let guest = GuestId::from_name_and_disks("a", &[]);
    let about = About { guest, name: "a".into(), incarnation: Some(incarnation) };
    let passed = Default::default();
    (about, Memory { format: FORMAT, guest, name: "a".into(), incarnation, passed, incident: None })
}

fn start_with(memory: Memory) -> Play {
    let dir = tempfile::tempdir().unwrap();
    let two = Rule::new(2, 3, 2).unwrap();
    let manner = Manner {
        scenarios: vec![
            scenario("kernel-trouble", "kernel-trouble", Rule::AT_ONCE),
            scenario("shell-answers", "console-command", two),
            scenario("app-label", "console-label", two),
            scenario("qemu-answers", "qmp-status", two),
        ],
        diagnosis: 60 * SECOND,
    };
    let shared = Shared {
        events: Events::open(&dir.path().join("events")).unwrap(),
        rounds: Rounds::open(&dir.path().join("rounds.jsonl")).unwrap(),
        live: Live::default(),
        looks: Default::default(),
        spool: None,
    };
    let stage = Arc::new(Stage::default());
    *stage.shell.lock().unwrap() = Some(ShellReply::Answered { took: SECOND / 100 });
    let (about, _) = guest();
    let scribe = Scribe::new(memory::path(dir.path(), about.guest));
    let actor = Actor::new(about, manner, stage.clone(), shared, memory, scribe);
    let (seen, mut sees) = mpsc::channel(64);
    let (orders, mut ordered) = mpsc::channel(8);
    let task = tokio::spawn(async move { actor.run(&mut sees, &mut ordered).await });
    Play { dir, stage, seen, orders, task }
}

async fn start() -> Play {
    let play = start_with(guest().1);
    play.see(Seen::Console(Console::Link(Ok(())))).await;
    play.see(status("running")).await;
    play
}

fn status(it: &str) -> Seen {
    let (health, why) = (MonitorHealth::Answers, String::new());
    Seen::Monitor(Monitor { health, status: Some(it.into()), why })
}

impl Play {
    async fn see(&self, seen: Seen) {
        self.seen.send(seen).await.unwrap();
    }

    async fn label(&self) {
        self.see(Seen::Console(Console::Label { rule: "write".into() })).await;
    }

    /// A well guest for so many seconds.
    async fn well(&self, seconds: u32) {
        for _ in 0..seconds {
            self.label().await;
            sleep(SECOND).await;
        }
    }

    fn shell(&self, reply: Option<ShellReply>) {
        *self.stage.shell.lock().unwrap() = reply;
    }

    fn jobs(&self) -> Vec<Job> {
        self.stage.jobs.lock().unwrap().clone()
    }

    /// Events on disk, once as many incidents moved as are expected.
    fn incidents(&self, expected: &[&str]) -> Vec<Event> {
        let seen = self.wait(|all| incident_words(all).len() >= expected.len());
        assert_eq!(incident_words(&seen), expected);
        seen
    }

    fn wait(&self, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        for _ in 0..1000 {
            seen = read::all(&self.dir.path().join("events")).unwrap();
            if enough(&seen) {
                break;
            }
            // The writer is a real thread: the played clock must not move meanwhile.
            std::thread::sleep(Duration::from_millis(5));
        }
        seen
    }
}

fn incident_words(events: &[Event]) -> Vec<&str> {
    let word = |it: &Event| match &it.kind {
        EventKind::Incident { what, .. } => Some(what.clone()),
        _ => None,
    };
    let words: Vec<String> = events.iter().filter_map(word).collect();
    let known = ["opened", "examined", "closed", "interrupted", "not-examined"];
    words.iter().filter_map(|it| known.into_iter().find(|known| known == it)).collect()
}

fn panic_line() -> Seen {
    Seen::Console(Console::Trouble(Trouble {
        kind: "panic".into(),
        title: "Kernel panic - not syncing: sysrq triggered crash".into(),
        source: "console".into(),
        fatal: true,
        bytes: (10, 60),
    }))
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_noticed_at_once_and_is_one_incident_with_what_follows_from_it() {
    let play = start().await;
    play.well(8).await;
    play.shell(None);
    let at = Instant::now();
    play.see(panic_line()).await;
    sleep(60 * SECOND).await;
    let jobs = play.jobs();
    assert_eq!(jobs.len(), 1, "label and shell fail too, for the same reason");
    assert_eq!(jobs[0].opening.class, Class::Panicked);
    assert_eq!(jobs[0].notice.scenario, "kernel-trouble");
    assert!(at.elapsed() > 2 * SECOND);
    play.incidents(&["opened", "examined"]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_guest_is_not_hung_however_long_it_is_paused() {
    let play = start().await;
    play.well(8).await;
    play.shell(None);
    play.see(Seen::Qmp { name: "STOP".into(), data: json!({}) }).await;
    sleep(3600 * SECOND).await;
    assert!(play.jobs().is_empty());
    play.see(Seen::Qmp { name: "RESUME".into(), data: json!({}) }).await;
    play.shell(Some(ShellReply::Answered { took: SECOND / 10 }));
    play.well(20).await;
    assert!(play.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_not_a_hang_and_what_hangs_after_it_is() {
    let play = start().await;
    play.well(8).await;
    play.shell(Some(ShellReply::Refused("no prompt was seen".into())));
    let data = json!({"guest": true, "reason": "guest-reset"});
    play.see(Seen::Qmp { name: "RESET".into(), data }).await;
    sleep(30 * SECOND).await;
    assert!(play.jobs().is_empty());
    play.shell(Some(ShellReply::Answered { took: SECOND / 10 }));
    play.well(10).await;
    sleep(20 * SECOND).await;
    let jobs = play.jobs();
    assert_eq!(jobs.iter().map(|it| it.notice.scenario.as_str()).collect::<Vec<_>>(), ["app-label"]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stalls_is_noticed_by_the_label_and_closed_when_it_works_again() {
    let play = start().await;
    play.well(10).await;
    sleep(30 * SECOND).await;
    assert_eq!(play.jobs().len(), 1);
    let noticed = play.jobs()[0].clone();
    assert_eq!((noticed.notice.scenario.as_str(), noticed.opening.class), ("app-label", Class::Suspect));
    assert!(!noticed.opening.evidence.is_empty() && !noticed.answers.is_empty());
    play.well(5).await;
    play.incidents(&["opened", "examined", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_shell_that_never_answers_does_not_delay_the_other_rounds() {
    let play = start().await;
    play.well(8).await;
    play.shell(None);
    play.well(30).await;
    let jobs = play.jobs();
    assert_eq!(jobs.iter().map(|it| it.opening.class).collect::<Vec<_>>(), [Class::ConsoleLost]);
    let lines = || std::fs::read_to_string(play.dir.path().join("rounds.jsonl")).unwrap();
    let mut labels = 0;
    for _ in 0..500 {
        labels = lines().lines().filter(|it| it.contains("\"app-label\"")).count();
        if labels >= 37 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!((37..=39).contains(&labels), "{labels} rounds in 38 s");
    assert!(lines().lines().filter(|it| it.contains("\"app-label\"")).all(|it| it.contains("\"missed\":0")));
    let shell: Vec<String> =
        lines().lines().filter(|it| it.contains("\"shell-answers\"")).map(str::to_owned).collect();
    assert!(shell.iter().any(|it| !it.contains("\"missed\":0")), "a slow scenario misses rounds of its own");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_what_is_seen_does_not_starve_the_rounds() {
    let play = start().await;
    play.well(6).await;
    let until = Instant::now() + 5 * SECOND;
    while Instant::now() < until {
        for _ in 0..2000 {
            play.see(Seen::Console(Console::Bytes(65_536))).await;
        }
        sleep(SECOND / 10).await;
    }
    let asked = play.stage.asked.lock().unwrap().len();
    assert!((10..=12).contains(&asked), "{asked} shell rounds in 11 s");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_had_a_shell_is_not_called_hung() {
    let play = start().await;
    play.shell(None);
    for _ in 0..600 {
        sleep(SECOND).await;
    }
    assert!(play.jobs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_qemu_is_stuck_and_a_killed_one_is_gone() {
    let play = start().await;
    play.well(8).await;
    play.see(Seen::Process(Process::Stopped)).await;
    sleep(10 * SECOND).await;
    assert_eq!(play.jobs()[0].opening.class, Class::QemuStuck);
    play.see(Seen::Process(Process::Alive)).await;
    play.well(20).await;
    play.incidents(&["opened", "examined", "closed"]);
    play.see(Seen::Process(Process::Gone)).await;
    play.task.await.unwrap();
    assert_eq!(play.stage.jobs.lock().unwrap()[1].opening.class, Class::QemuGone);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_shut_down_in_order_is_no_incident() {
    let play = start().await;
    play.well(8).await;
    let data = json!({"guest": true, "reason": "guest-shutdown"});
    play.see(Seen::Qmp { name: "SHUTDOWN".into(), data }).await;
    play.see(Seen::Process(Process::Gone)).await;
    play.task.await.unwrap();
    assert!(play.stage.jobs.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_monitor_is_stuck_and_a_busy_one_is_not() {
    let play = start().await;
    let say = |health: MonitorHealth| Seen::Monitor(Monitor { health, status: None, why: "why".into() });
    for _ in 0..30 {
        play.label().await;
        play.see(say(MonitorHealth::Busy { peer: "libvirtd".into() })).await;
        sleep(SECOND).await;
    }
    assert!(play.jobs().is_empty());
    for _ in 0..10 {
        play.label().await;
        play.see(say(MonitorHealth::Silent)).await;
        sleep(SECOND).await;
    }
    assert_eq!(play.jobs()[0].opening.class, Class::QemuStuck);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_killed_in_a_diagnosis_says_so_and_examines_again() {
    let play = start().await;
    play.well(8).await;
    sleep(8 * SECOND).await;
    assert_eq!(play.jobs().len(), 1, "the diagnosis runs");
    play.task.abort();
    let folder = play.dir.path();
    let mut left = None;
    for _ in 0..1000 {
        left = memory::read(folder, guest().0.guest).filter(|it| it.incident.is_some());
        if left.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = left.unwrap();
    assert_eq!(left.incident.as_ref().unwrap().state, IncidentState::Examining);
    assert!(left.passed.contains("app-label"));

    let again = start_with(left);
    again.see(Seen::Console(Console::Link(Ok(())))).await;
    again.see(status("running")).await;
    again.label().await;
    sleep(30 * SECOND).await;
    assert_eq!(again.jobs().len(), 1);
    again.incidents(&["interrupted", "opened", "examined"]);
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_was_reported_before_a_restart_is_not_opened_again() {
    let play = start().await;
    play.well(8).await;
    sleep(20 * SECOND).await;
    play.incidents(&["opened", "examined"]);
    let mut left = None;
    for _ in 0..1000 {
        left = memory::read(play.dir.path(), guest().0.guest);
        let reported = |it: &Memory| it.incident.as_ref().map(|it| it.state) == Some(IncidentState::Reported);
        if left.as_ref().is_some_and(reported) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = left.unwrap();
    let id: IncidentId = left.incident.as_ref().unwrap().id;
    let again = start_with(left);
    again.see(Seen::Console(Console::Link(Ok(())))).await;
    again.see(status("running")).await;
    sleep(30 * SECOND).await;
    assert!(again.jobs().is_empty());
    again.well(20).await;
    let events = again.incidents(&["closed"]);
    assert!(events.iter().any(|it| matches!(&it.kind, EventKind::Incident { id: it, .. } if *it == id)));
}

#[tokio::test(start_paused = true)]
async fn somebody_may_ask_for_a_diagnosis_and_for_the_status() {
    let play = start().await;
    play.well(8).await;
    let (answer, examined) = tokio::sync::oneshot::channel();
    play.orders.send(Order::Diagnose(answer)).await.unwrap();
    let (examined, ()) = tokio::join!(examined, play.well(8));
    assert!(matches!(examined, Ok(super::order::Report::Examined(Ok(_)))));
    assert!(play.jobs()[0].on_demand);
    let (answer, status) = tokio::sync::oneshot::channel();
    play.orders.send(Order::Status(answer)).await.unwrap();
    let status = status.await.unwrap();
    assert_eq!(status.incident, None);
    assert_eq!(status.scenarios.iter().filter(|it| it.standing == "well").count(), 4);
}

#[test]
fn the_state_folder_of_another_guest_is_not_touched() {
    let path = memory::path(Path::new("/s"), guest().0.guest);
    assert_eq!(path.parent(), Some(Path::new("/s")));
}
