//! Each fault's picture gives its class, and pictures that lack something never give a sure one.

#![expect(clippy::unwrap_used, reason = "helpers of tests, not only test functions")]

mod build;
mod look;

use build::*;
use vmward_findings::{Case, Conclusion, conclude};
use vmward_model::observed::{BootPhase, MonitorHealth};
use vmward_model::{
    Answer, Class, Confidence, Event, EventKind, GuestState, ProbeAnswer, Severity, TransportKind,
};

const MUTEX: &[&str] = &["__schedule", "schedule", "schedule_preempt_disabled", "__mutex_lock", "bdev_open"];
const PAGE: &[&str] = &["__schedule", "schedule", "io_schedule", "folio_wait_bit_common", "efi_partition"];
const JOURNAL: &[&str] = &["__schedule", "schedule", "jbd2_log_wait_commit", "ext4_sync_file"];
const FROZEN: &[&str] =
    &["__schedule", "schedule", "percpu_rwsem_wait", "__percpu_down_read", "mnt_want_write"];
const FUSE: &[&str] =
    &["__schedule", "schedule", "request_wait_answer", "fuse_simple_request", "fuse_lookup"];
const SWAP: &[&str] = &["__schedule", "schedule", "io_schedule", "folio_wait_bit_common", "do_swap_page"];

fn panicked_by_qemu() -> Case {
    let mut case = calm().shell(false);
    case.guest_state = GuestState::Panicked;
    case.events.push(Event {
        format: 1,
        seq: 9,
        at: stamp(59_000),
        severity: Severity::Crit,
        guest: None,
        name: None,
        incarnation: Some(case.incarnation),
        kind: EventKind::Qemu { name: "GUEST_PANICKED".into(), data: serde_json::json!({"action": "pause"}) },
    });
    case
}

fn recovered() -> Case {
    let mut case = calm().labels(700);
    case.probes.push(ProbeAnswer {
        scenario: "app-label".into(),
        probe: "console-label".into(),
        transport: TransportKind::Console,
        at: stamp(61_000),
        took_ms: 1,
        answer: Answer::Pass,
    });
    case
}

/// A guest in which somebody takes a look, and in which no scenario failed.
fn looked_at(mut case: Case) -> Case {
    case.opening.scenario = vmward_findings::ON_DEMAND.into();
    case
}

/// One that QEMU says is in `state`; labels and queues stand still with it.
fn stopped(state: GuestState, status: &str) -> Case {
    let mut case = looked_at(calm().labels(60_000).queues(&[(3, 9), (3, 9)]));
    case.guest_state = state;
    let run_state = case.observed.run_state.as_mut().unwrap();
    (run_state.state, run_state.status) = (state, Some(status.into()));
    case
}

fn gone() -> Case {
    let mut case = calm();
    case.guest_state = GuestState::Gone;
    case
}

/// Every fault of the house, as its captures would show it.
fn pictures() -> Vec<(&'static str, Case, Class)> {
    let stall = || calm().queues(&[(3, 9), (3, 9)]);
    let rt_spin = || calm().shell(false).cpus(&[USER_LOOP, USER_LOOP]);
    vec![
        ("panic", calm().shell(false).trouble("panic", "Kernel panic - not syncing: x"), Class::Panicked),
        ("panic told by pvpanic alone", panicked_by_qemu(), Class::Panicked),
        (
            "init-dies",
            calm().shell(false).trouble("init-died", "Kernel panic - not syncing: Attempted to kill init!"),
            Class::InitDied,
        ),
        (
            "an oops that ends in a panic",
            calm()
                .shell(false)
                .trouble("null-deref", "BUG: kernel NULL pointer")
                .trouble("panic", "Kernel panic"),
            Class::Panicked,
        ),
        ("oops", calm().trouble("oops", "Oops: invalid opcode"), Class::KernelOops),
        ("irq-off-spin", calm().shell(false).cpus(&[CLI_LOOP, CLI_LOOP]), Class::IrqOffSpin),
        ("irq-off-one", calm().cpus(&[RESTS, CLI_LOOP]).blocked(&[]), Class::IrqOffSpin),
        ("rt-spin", rt_spin().blocked(&[]), Class::CpuSpin),
        // As on a real guest: the spinners came between the last label and the next one.
        ("rt-spin, after an answer", rt_spin().labels(6_047).shell_ago(5_607).blocked(&[]), Class::CpuSpin),
        ("rt-spin, keys refused", rt_spin().refused(), Class::CpuSpin),
        ("rt-spin-throttled", calm().labels(2_500).cpus(&[USER_LOOP, USER_LOOP]), Class::Busy),
        (
            "disk-stall",
            stall().blocked(&[("app-writer-1", JOURNAL), ("app-writer-2", PAGE)]),
            Class::DiskStall,
        ),
        ("disk-stall, keys refused", stall().refused(), Class::DiskStall),
        (
            "one that happens to queue behind a stalled disk",
            stall().blocked(&[("app-writer-1", JOURNAL), ("cat", MUTEX)]),
            Class::DiskStall,
        ),
        (
            "lock-chain",
            stall().blocked(&[("holder", PAGE), ("waiter-1", MUTEX), ("waiter-2", MUTEX)]),
            Class::LockWait,
        ),
        ("abba", calm().blocked(&[("a", MUTEX), ("b", MUTEX)]), Class::LockWait),
        ("fs-freeze", calm().blocked(&[("app-writer-1", FROZEN)]), Class::LockWait),
        ("fuse-self", calm().blocked(&[("fused", FUSE)]), Class::LockWait),
        (
            "oom-thrash",
            calm().shell(false).memory(2_900, 10_000).ops(80).queues(&[(8, 10), (8, 60)]).blocked(&[
                ("hog", SWAP),
                ("app", MUTEX),
                ("sh", SWAP),
            ]),
            Class::MemoryThrash,
        ),
        (
            // As on a real guest: swap on a disk of 1 MiB/s. One request of many is answered in seconds.
            "oom-thrash, the disk silent for a second",
            calm().memory(1_400, 80_000).ops(0).queues(&[(65, 10), (65, 10), (65, 13)]).blocked(&[
                ("hog", SWAP),
                ("app", SWAP),
                ("app-writer-2", MUTEX),
                ("app-writer-3", MUTEX),
            ]),
            Class::MemoryThrash,
        ),
        (
            "a disk of swap that never answers",
            calm()
                .memory(1_400, 80_000)
                .ops(0)
                .queues(&[(65, 10), (65, 10), (65, 10)])
                .blocked(&[("hog", SWAP), ("app", SWAP)]),
            Class::DiskStall,
        ),
        (
            "fork-bomb",
            calm().said("sh: can't fork: Resource temporarily unavailable").cpus(&[USER_LOOP, USER_LOOP]),
            Class::ProcessLimit,
        ),
        ("userspace-stop", calm().blocked(&[]), Class::UserspaceHung),
        ("shell-dead", calm().labels(800).shell(false).blocked(&[]), Class::ConsoleLost),
        (
            "boot-stuck",
            suspect()
                .cpus(&IDLE)
                .phase(BootPhase::WaitsForRoot)
                .trouble("root-wait", "Waiting for root device"),
            Class::BootStuck,
        ),
        ("qemu-stopped", calm().monitor(MonitorHealth::Silent).threads_in('T'), Class::QemuStuck),
        ("qemu-killed", gone(), Class::QemuGone),
        ("trouble that ended", recovered(), Class::Well),
        ("nothing captured", suspect(), Class::Suspect),
        ("idle, looked at", looked_at(calm().labels(700)), Class::Well),
        ("idle, and nothing of its user space is watched", looked_at(unwatched(&IDLE)), Class::Well),
        (
            "all vCPUs work, and nothing of its user space is watched",
            looked_at(unwatched(&[USER_LOOP; 2])),
            Class::Suspect,
        ),
        ("busy-cpu, looked at", looked_at(calm().labels(700).cpus(&[USER_LOOP; 2])), Class::Busy),
        ("busy-disk, looked at", looked_at(calm().labels(700).ops(400)), Class::Busy),
        ("nothing captured, looked at", looked_at(suspect()), Class::Suspect),
        ("paused", stopped(GuestState::Paused, "paused"), Class::Well),
        ("save-restore", stopped(GuestState::Saving, "save-vm"), Class::Well),
        ("shut down", stopped(GuestState::ShutDown, "shutdown"), Class::Well),
    ]
}

fn unwatched(cpus: &[Cpu]) -> Case {
    suspect().monitor(MonitorHealth::Answers).cpus(cpus).queues(&[(0, 5), (0, 9)])
}

#[test]
fn a_guest_that_its_watchdog_paused_is_not_called_well() {
    assert_ne!(first(&stopped(GuestState::Paused, "watchdog")).class, Class::Well);
}

#[test]
fn a_hang_that_was_noticed_before_the_pause_goes_before_it() {
    let mut case = stopped(GuestState::Paused, "paused").trouble("panic", "Kernel panic");
    case.opening.scenario = "app-label".into();
    assert_eq!(first(&case).class, Class::Panicked);
}

#[test]
fn each_picture_gives_exactly_its_class() {
    let mut wrong = Vec::new();
    for (name, case, class) in pictures() {
        let said = conclude(&case);
        if said.class != class {
            wrong.push(format!("{name}: {} instead of {class}\n{said:#?}", said.class));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_class_but_suspect_is_given_by_some_picture() {
    let given: Vec<Class> = pictures().iter().map(|it| it.2).collect();
    let missing: Vec<_> = Class::ALL.iter().filter(|it| !given.contains(it)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_deciding_finding_comes_first_and_has_evidence() {
    for (name, case, class) in pictures().into_iter().filter(|it| it.2 != Class::Suspect) {
        let said = conclude(&case);
        assert_eq!(said.findings[0].class, class, "{name}");
        assert!(said.findings[0].evidence.iter().any(|it| it.supports), "{name}");
    }
}

#[test]
fn a_case_read_back_from_a_bundle_gives_the_same_conclusion() {
    for (name, case, _) in pictures() {
        let text = serde_json::to_string(&case).unwrap();
        let back: Case = serde_json::from_str(&text).unwrap();
        assert_eq!(back, case, "{name}");
        assert_eq!(conclude(&back), conclude(&case), "{name}");
    }
}

/// Takes one capture away from each picture.
fn without_one(case: &Case) -> Vec<(&'static str, Case)> {
    let less = |what, change: fn(&mut Case)| {
        let mut case = case.clone();
        change(&mut case);
        (what, case)
    };
    vec![
        less("run state", |it| it.observed.run_state = None),
        less("registers", |it| it.observed.vcpus = None),
        less("queues", |it| it.observed.queues = None),
        less("block counters", |it| it.observed.blocks = None),
        less("host side", |it| it.observed.host = None),
        less("console", |it| it.observed.console = None),
        less("kernel facts", |it| it.kernel = Default::default()),
    ]
}

#[test]
fn a_capture_that_is_missing_never_makes_another_class_certain() {
    for (name, case, class) in pictures() {
        for (what, less) in without_one(&case) {
            let said = conclude(&less);
            let sure = said.findings.first().is_some_and(|it| {
                it.confidence == Confidence::Certain && it.class != Class::Suspect && it.class != class
            });
            // What remains of an oops that panicked is told by the rest of its own console.
            assert!(!sure, "{name} without {what}: {said:#?}");
        }
    }
}

fn first(case: &Case) -> Conclusion {
    conclude(case)
}

#[test]
fn what_was_refused_is_said_and_makes_the_rest_less_sure() {
    let said = first(&calm().refused());
    assert_eq!((said.class, said.findings[0].confidence), (Class::UserspaceHung, Confidence::Possible));
    assert!(said.findings[0].evidence.iter().any(|it| !it.supports && it.text.contains("refused")));
    assert!(said.findings.iter().any(|it| it.rule == "sysrq-refused"));
    assert!(said.undecided.iter().any(|it| it.rule == "lock-wait" && it.why.contains("refused")));
}

#[test]
fn a_monitor_that_somebody_holds_is_not_a_stuck_qemu() {
    let said = first(&calm().monitor(MonitorHealth::Busy { peer: "libvirtd (812)".into() }).labels(500));
    assert_ne!(said.class, Class::QemuStuck);
    assert!(
        said.findings.iter().any(|it| it.rule == "monitor-busy" && it.details["peer"].contains("libvirtd"))
    );
    assert_eq!(first(&calm().monitor(MonitorHealth::Silent)).class, Class::QemuStuck);
    assert_ne!(first(&calm().monitor(MonitorHealth::Garbage)).class, Class::QemuStuck);
}

#[test]
fn an_arm64_cpu_that_waits_with_interrupts_masked_does_not_spin() {
    let mut rests = RESTS;
    rests.interrupts_off = true;
    let mut case = calm().cpus(&[rests, rests]);
    for cpu in case.observed.vcpus.iter_mut().flat_map(|it| &mut it.samples).flat_map(|it| &mut it.cpus) {
        cpu.halted = None;
    }
    assert_ne!(first(&case).class, Class::IrqOffSpin);
}

#[test]
fn a_label_after_the_panic_line_shows_that_nobody_panicked() {
    let said = first(&calm().labels(500).trouble("panic", "Kernel panic - not syncing: from an old log"));
    assert_ne!(said.class, Class::Panicked);
}

#[test]
fn a_fork_that_fails_for_want_of_memory_is_no_process_limit() {
    let said = first(&calm().said("sh: can't fork: Cannot allocate memory"));
    assert_ne!(said.class, Class::ProcessLimit);
}

#[test]
fn tasks_that_moved_between_two_lists_are_not_stuck() {
    let mut case = calm().blocked(&[("a", MUTEX), ("b", MUTEX)]);
    let mut later = case.kernel.blocked.clone().unwrap();
    for it in &mut later {
        it.state = Some(vmward_kernel_facts::TaskState::S);
    }
    case.kernel.tasks = Some(later);
    assert_ne!(first(&case).class, Class::LockWait);
}
