//! The ladder, climbed on fakes: what is tried, what is not, and what is lost when something goes wrong.

use std::collections::HashMap;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vmward_model::observed::{ConsoleSeen, MonitorHealth, TroubleSeen};
use vmward_model::{CaptureOutcome, GuestState, Incarnation, Rung, TransportKind};

use super::context::Answers;
use super::runner::run;
use super::*;
use crate::node::{Process, Reader, stat};

/// A process that stands in for QEMU.
struct Stand(Child);

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Stand {
    fn new() -> Stand {
        Stand(std::process::Command::new("sleep").arg("100").spawn().unwrap())
    }

    fn context(&self) -> Context {
        let pid = self.0.id();
        let line = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
        let start_ticks = stat::parse(&line).unwrap().start_ticks;
        Context {
            incarnation: Incarnation { pid, start_ticks, boot: 0 },
            guest_state: GuestState::Running,
            process: Process::new(pid, start_ticks, Reader::default(), None),
            monitor: None,
            console: None,
            sysrq: None,
            pauser: None,
            memory: None,
            vcpu_threads: OnceLock::new(),
            memory_read: OnceLock::new(),
            queues_since: OnceLock::new(),
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

/// A monitor that answers each question with what `answer` says; `None` is silence.
struct FakeMonitor {
    asked: AtomicUsize,
    answer: fn(&Question) -> Option<Value>,
}

impl FakeMonitor {
    fn new(answer: fn(&Question) -> Option<Value>) -> Arc<FakeMonitor> {
        Arc::new(FakeMonitor { asked: AtomicUsize::new(0), answer })
    }
}

impl Monitor for FakeMonitor {
    fn ask(&self, questions: Vec<Question>, within: Duration) -> Step<'_, Result<Answers, Unreachable>> {
        Box::pin(async move {
            let mut answers = Answers::new();
            for question in questions {
                self.asked.fetch_add(1, Ordering::Relaxed);
                match (self.answer)(&question) {
                    Some(answer) => answers.push(Ok(answer)),
                    None => {
                        tokio::time::sleep(within).await;
                        return Err(Unreachable { health: MonitorHealth::Silent, why: "no greeting".into() });
                    }
                }
            }
            Ok(answers)
        })
    }

    fn history(&self) -> Value {
        json!({"events": []})
    }

    fn wire_log(&self) -> String {
        "> query-status".into()
    }
}

/// A running guest with one virtio disk that has `inuse` requests out.
fn guest(question: &Question, inuse: u32) -> Option<Value> {
    let path = "/machine/peripheral/vb0/virtio-backend";
    Some(match question {
        Question::Status => json!({"status": "running", "running": true}),
        Question::Cpus => json!([]),
        Question::Target => json!({"arch": "x86_64"}),
        Question::Virtio => json!([{"name": "virtio-blk", "path": path}]),
        Question::VirtioStatus { .. } => json!({"num-vqs": 1, "vhost-started": false}),
        Question::VirtioQueue { .. } => json!({"inuse": inuse, "vring-desc": 4096, "last-avail-idx": 7,
                                               "shadow-avail-idx": 7, "used-idx": 7}),
        Question::BlockStats => json!([{"device": "", "qdev": path, "node-name": "d0",
                                        "stats": {"rd_operations": 7}}]),
        Question::Jobs => json!([]),
        Question::Registers => {
            json!("\nCPU#0\nRIP=0000000000000001 RFL=00000002 CPL=0 HLT=0\nRSP=0000000000000002\n")
        }
        _ => json!({}),
    })
}

struct FakeKeys {
    pressed: Mutex<String>,
    answers: HashMap<char, Pressed>,
    others: Pressed,
}

impl FakeKeys {
    fn new(answers: &[(char, Pressed)], others: Pressed) -> Arc<FakeKeys> {
        Arc::new(FakeKeys { pressed: Mutex::default(), answers: answers.iter().cloned().collect(), others })
    }

    fn pressed(&self) -> String {
        self.pressed.lock().unwrap().clone()
    }
}

impl SysRq for FakeKeys {
    fn press(&self, key: char, _within: Duration) -> Step<'_, Pressed> {
        self.pressed.lock().unwrap().push(key);
        Box::pin(std::future::ready(self.answers.get(&key).unwrap_or(&self.others).clone()))
    }
}

fn answered(text: &str) -> Pressed {
    Pressed::Answered { path: "mux-break".into(), text: text.into(), incomplete: None }
}

fn refused() -> Pressed {
    Pressed::Refused {
        path: "mux-break".into(),
        text: b"sysrq: This sysrq operation is disabled.\n".to_vec(),
    }
}

fn silent() -> Pressed {
    Pressed::Silent { path: "mux-break".into() }
}

struct FakePauser {
    asked: AtomicUsize,
    in_flight: bool,
}

impl Pauser for FakePauser {
    fn by_dump(&self) -> Step<'_, Result<Paused, PauseError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            if self.in_flight {
                return Err(PauseError::Refused("1 request in flight".to_owned()));
            }
            Ok(Paused { paused_us: 1200, raw: b"\x7fELF".to_vec(), ..Paused::default() })
        })
    }

    fn by_gdb(&self) -> Step<'_, Result<Paused, PauseError>> {
        Box::pin(async { Err(PauseError::Failed("gdb says no".to_owned())) })
    }
}

struct FakeConsole(Vec<TroubleSeen>);

impl Console for FakeConsole {
    fn seen(&self) -> Step<'_, ConsoleSeen> {
        Box::pin(async { ConsoleSeen { connected: true, trouble: self.0.clone(), ..ConsoleSeen::default() } })
    }

    fn tail(&self, _cap: usize) -> Step<'_, Result<Vec<u8>, String>> {
        Box::pin(async { Ok(b"last words".to_vec()) })
    }
}

fn outcome<'a>(examined: &'a Examined, capture: &str) -> &'a CaptureOutcome {
    let found: Vec<_> = examined.records.iter().filter(|it| it.capture == capture).collect();
    assert_eq!(found.len(), 1, "{capture} is recorded once: {:?}", examined.records);
    &found[0].outcome
}

fn skipped(examined: &Examined, capture: &str, word: &str) {
    match outcome(examined, capture) {
        CaptureOutcome::Skipped { why } => assert!(why.contains(word), "{capture}: {why}"),
        other => panic!("{capture}: {other:?}"),
    }
}

fn gave(examined: &Examined, capture: &str) {
    let it = outcome(examined, capture);
    assert!(matches!(it, CaptureOutcome::Done | CaptureOutcome::Partial { .. }), "{capture}: {it:?}");
}

#[tokio::test]
async fn a_running_guest_is_examined_on_l0_and_l1_and_asked_by_sysrq_last() {
    let stand = Stand::new();
    let monitor = FakeMonitor::new(|it| guest(it, 1));
    let keys =
        FakeKeys::new(&[('w', answered("sysrq: Show Blocked State\n"))], answered("sysrq: Show Regs\n"));
    let cx = Context { monitor: Some(monitor), sysrq: Some(keys.clone()), ..stand.context() };
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    for capture in
        ["host-threads", "host-disks", "run-state", "block-stats", "virtqueues", "registers", "wire-log"]
    {
        gave(&examined, capture);
    }
    skipped(&examined, "registers-dump", "policy");
    skipped(&examined, "console-tail", "no console");
    assert_eq!(keys.pressed(), "wlmpqt");
    assert_eq!(examined.kernel.blocked, Some(Vec::new()));
    assert_eq!(examined.highest, Some(Rung::L3));

    let seen = &examined.observed;
    assert_eq!(seen.run_state.as_ref().unwrap().status.as_deref(), Some("running"));
    assert_eq!(seen.vcpus.as_ref().unwrap().samples.len(), 5);
    let queues = seen.queues.as_ref().unwrap();
    assert_eq!(
        (queues.len(), queues[0].queues[0].inuse),
        (3, 1),
        "twice, and once more since it stood still"
    );
    assert!(queues[1].at_ms >= queues[0].at_ms + 1000);
    assert_eq!(seen.blocks.as_ref().unwrap().len(), 2);
    assert!(seen.host.as_ref().unwrap().process_alive);
    let names: Vec<&str> = examined.records.iter().map(|it| it.capture.as_str()).collect();
    assert_eq!(names.len(), registry().len() - 1, "all but the key that no policy names: {names:?}");
}

#[tokio::test]
async fn a_monitor_that_stays_silent_costs_its_own_captures_and_no_more_than_the_budget() {
    let stand = Stand::new();
    let keys = FakeKeys::new(&[], silent());
    let cx =
        Context { monitor: Some(FakeMonitor::new(|_| None)), sysrq: Some(keys.clone()), ..stand.context() };
    let began = Instant::now();
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    gave(&examined, "host-threads");
    assert!(matches!(outcome(&examined, "run-state"), CaptureOutcome::Failed { .. }));
    assert_eq!(examined.observed.run_state.as_ref().unwrap().monitor, MonitorHealth::Silent);
    for capture in ["block-stats", "virtqueues", "registers"] {
        skipped(&examined, capture, "silent");
    }
    assert!(matches!(outcome(&examined, "sysrq-w"), CaptureOutcome::Failed { .. }));
    for key in ["sysrq-l", "sysrq-m", "sysrq-p", "sysrq-q", "sysrq-t", "sysrq-h"] {
        skipped(&examined, key, "no answer to w");
    }
    assert_eq!(keys.pressed(), "w");
    assert_eq!(examined.kernel.sysrq.unwrap().silent, ['w']);
}

#[tokio::test]
async fn a_refusal_by_mask_is_said_once_and_the_help_key_shows_that_the_kernel_lives() {
    let stand = Stand::new();
    let keys = FakeKeys::new(&[('h', answered("sysrq: HELP : loglevel(0-9)\n"))], refused());
    let cx = Context { sysrq: Some(keys.clone()), ..stand.context() };
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    assert!(matches!(outcome(&examined, "sysrq-w"), CaptureOutcome::Refused { .. }));
    skipped(&examined, "sysrq-t", "refused like w");
    assert_eq!(outcome(&examined, "sysrq-h"), &CaptureOutcome::Done);
    assert_eq!(keys.pressed(), "wh");
    let sysrq = examined.kernel.sysrq.unwrap();
    assert_eq!((sysrq.refused, sysrq.answered), (vec!['w'], vec!['h']));
}

#[tokio::test]
async fn a_stopped_qemu_is_not_asked_anything() {
    let stand = Stand::new();
    let monitor = FakeMonitor::new(|it| guest(it, 0));
    let keys = FakeKeys::new(&[], answered(""));
    let cx = Context { monitor: Some(monitor.clone()), sysrq: Some(keys.clone()), ..stand.context() };
    stand.signal(nix::sys::signal::Signal::SIGSTOP);
    while cx.process.state(Duration::from_secs(5)).await.unwrap() != Some('T') {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    gave(&examined, "host-threads");
    skipped(&examined, "run-state", "is stopped");
    skipped(&examined, "sysrq-w", "is stopped");
    assert_eq!((monitor.asked.load(Ordering::Relaxed), keys.pressed().as_str()), (0, ""));
    assert_eq!(examined.observed.host.unwrap().threads[0].state, 'T');
    assert_eq!(examined.observed.run_state.unwrap().monitor, MonitorHealth::Silent);
}

#[tokio::test]
async fn of_a_qemu_that_is_gone_the_console_and_the_events_are_left() {
    let mut stand = Stand::new();
    let cx = Context {
        monitor: Some(FakeMonitor::new(|_| None)),
        console: Some(Arc::new(FakeConsole(Vec::new()))),
        ..stand.context()
    };
    stand.0.kill().unwrap();
    stand.0.wait().unwrap();
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    gave(&examined, "console-tail");
    gave(&examined, "event-history");
    skipped(&examined, "run-state", "is gone");
    assert!(!examined.observed.host.unwrap().process_alive);
    stand.0 = std::process::Command::new("sleep").arg("100").spawn().unwrap();
}

#[tokio::test]
async fn a_kernel_that_has_stopped_is_not_asked_by_sysrq() {
    let stand = Stand::new();
    let panic = TroubleSeen {
        kind: "panic".into(),
        title: "Kernel panic - not syncing".into(),
        ago_ms: 5,
        bytes: (0, 1),
        fatal: true,
    };
    let keys = FakeKeys::new(&[], answered(""));
    let console: Arc<dyn Console> = Arc::new(FakeConsole(vec![panic]));
    let cx = Context { console: Some(console), sysrq: Some(keys.clone()), ..stand.context() };
    let examined = diagnose(Arc::new(cx), &Plan::default()).await;
    skipped(&examined, "sysrq-w", "Kernel panic");
    assert_eq!(keys.pressed(), "");
}

#[tokio::test]
async fn no_guest_is_paused_without_its_owners_word_or_with_anything_in_flight() {
    let stand = Stand::new();
    for (l2, in_flight, word) in [(false, false, "policy"), (true, true, "in flight"), (true, false, "")] {
        let pauser = Arc::new(FakePauser { asked: AtomicUsize::new(0), in_flight });
        let cx = Context {
            monitor: Some(FakeMonitor::new(|it| guest(it, 0))),
            pauser: Some(pauser.clone()),
            ..stand.context()
        };
        let plan = Plan { l2, ..Plan::default() };
        let examined = diagnose(Arc::new(cx), &plan).await;
        assert_eq!(pauser.asked.load(Ordering::Relaxed), usize::from(l2));
        if word.is_empty() {
            assert_eq!(outcome(&examined, "registers-dump"), &CaptureOutcome::Done);
            assert!(matches!(outcome(&examined, "registers-gdb"), CaptureOutcome::Failed { .. }));
            let dump =
                examined.artifacts.iter().find(|it| it.provenance.capture == "registers-dump").unwrap();
            assert_eq!(dump.provenance.paused_us, 1200);
            assert_eq!(examined.highest, Some(Rung::L2));
        } else {
            skipped(&examined, "registers-dump", word);
        }
    }
}

struct Odd(&'static str);

impl Capture for Odd {
    fn name(&self) -> &'static str {
        self.0
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Host
    }

    fn deadline(&self) -> Duration {
        // Printing a panic takes its time on a busy machine.
        Duration::from_millis(if self.0 == "hangs" { 200 } else { 20_000 })
    }

    fn cap(&self) -> usize {
        4
    }

    fn take<'a>(&'a self, _cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            match self.0 {
                "panics" => panic!("deliberate"),
                "hangs" => std::future::pending().await,
                _ => {
                    let raw = Raw::text("abcdef", vmward_model::Sensitivity::Status);
                    Ok(Taken { raw: vec![raw], ..Taken::default() })
                }
            }
        })
    }
}

#[tokio::test]
async fn a_capture_that_panics_or_hangs_loses_nothing_but_itself() {
    let stand = Stand::new();
    let captures: Vec<Arc<dyn Capture>> =
        vec![Arc::new(Odd("panics")), Arc::new(Odd("hangs")), Arc::new(Odd("works"))];
    let examined = run(Arc::new(stand.context()), &Plan::default(), captures).await;
    assert!(
        matches!(outcome(&examined, "panics"), CaptureOutcome::Failed { why } if why.contains("deliberate"))
    );
    assert!(
        matches!(outcome(&examined, "hangs"), CaptureOutcome::Failed { why } if why.contains("did not end"))
    );
    assert_eq!(outcome(&examined, "works"), &CaptureOutcome::Done);
    let kept = &examined.artifacts[0];
    assert_eq!((kept.bytes.as_slice(), kept.truncated), (&b"abcd"[..], true));
}

#[tokio::test]
async fn when_the_time_is_up_the_rest_is_recorded_as_not_tried() {
    let stand = Stand::new();
    let plan = Plan { quiet_budget: Duration::ZERO, ..Plan::default() };
    let examined = run(Arc::new(stand.context()), &plan, vec![Arc::new(Odd("works"))]).await;
    skipped(&examined, "works", "no time");
    assert_eq!(examined.highest, None);
}
