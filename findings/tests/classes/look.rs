//! What a look at the guest's memory adds: pictures of real guests (`tests/recorded`, read by the lens from
//! images of the house's own), and some made by hand.

use serde_json::{Value, json};
use vmward_findings::{Case, Conclusion, KernelSeen, Look, conclude};
use vmward_kernel_facts::{Task, TaskState, WaitEdge, WaitGraph};
use vmward_model::{Class, Confidence, Finding};

use crate::build::*;

macro_rules! recorded {
    ($name:literal) => {
        serde_json::from_str::<KernelSeen>(include_str!(concat!("../recorded/", $name, ".json"))).unwrap()
    };
}

/// A guest whose application stands still, and what memory told of it.
fn with(kernel: KernelSeen) -> Case {
    let mut case = calm();
    case.kernel = kernel;
    case
}

/// The same where nobody complains.
fn looked_at(kernel: KernelSeen) -> Case {
    let mut case = calm().labels(700);
    case.opening.scenario = vmward_findings::ON_DEMAND.into();
    case.kernel = kernel;
    case
}

fn finding<'a>(said: &'a Conclusion, rule: &str) -> &'a Finding {
    said.findings.iter().find(|it| it.rule == rule).unwrap_or_else(|| panic!("no {rule} in {said:#?}"))
}

fn has(said: &Conclusion, rule: &str) -> bool {
    said.findings.iter().any(|it| it.rule == rule)
}

/// An edge of five seconds.
fn edge(waiter: u32, kind: &str, owners: &[u32], proof: &str) -> WaitEdge {
    let edge = json!({ "waiter": waiter, "kind": kind, "object": 0xffff888003001000u64, "owners": owners, "waiting_ns": 5_000_000_000u64, "proof": proof });
    serde_json::from_value(edge).unwrap()
}

/// A look at tasks in uninterruptible sleep with these waits.
fn seen(edges: Vec<WaitEdge>) -> KernelSeen {
    let kernel = recorded!("idle-6.1");
    let look = kernel.look.unwrap();
    let task = |pid: u32| {
        let mut task = Task::new(pid, format!("task-{pid}"), TaskState::D);
        task.address = Some(0xffff_8880_0400_0000 + u64::from(pid) * 8192);
        task.in_state = serde_json::from_value(json!({ "ns": 5_000_000_000u64, "sure": true })).unwrap();
        task
    };
    let pids: std::collections::BTreeSet<u32> =
        edges.iter().flat_map(|it| it.owners.iter().copied().chain([it.waiter])).collect();
    KernelSeen {
        tasks: Some(pids.into_iter().map(task).collect()),
        look: Some(Look { waits: WaitGraph::new(edges), ..look }),
        ..KernelSeen::default()
    }
}

/// Changes the machine's state of a look.
fn machine(mut kernel: KernelSeen, part: &str, value: Value) -> KernelSeen {
    let look = kernel.look.as_mut().unwrap();
    let mut all = serde_json::to_value(&look.machine).unwrap();
    all[part] = value;
    look.machine = serde_json::from_value(all).unwrap();
    kernel
}

#[test]
fn the_holder_of_a_recorded_lock_chain_is_named() {
    for (kernel, holder) in [
        (recorded!("lock-chain-6.1"), "lock-holder (pid 96)"),
        (recorded!("lock-chain-7.x"), "lock-holder (pid 115)"),
    ] {
        let case = with(kernel).queues(&[(1, 9), (1, 9)]);
        let said = conclude(&case);
        assert_eq!(said.class, Class::LockWait);
        let chain = &said.findings[0];
        assert_eq!((chain.code.as_str(), chain.confidence), ("VW1303", Confidence::Likely));
        assert_eq!(chain.details["root"], holder);
        assert_eq!(
            (chain.details["waiters"].as_str(), chain.details["does"].as_str()),
            ("2 tasks", "waits for a page of a file")
        );
        assert_eq!(chain.details["disk"], "vdb");
        let texts: Vec<&str> = chain.evidence.iter().map(|it| it.text.as_str()).collect();
        assert!(
            texts
                .iter()
                .any(|it| it.starts_with("app-writer-1 (pid ") && it.contains(&format!("held by {holder}"))),
            "{texts:#?}"
        );
        assert!(
            texts.iter().any(|it| it.contains("disk vdb owes 1 request, the oldest for 2.")),
            "{texts:#?}"
        );
        // Its disk is told beside it, once.
        assert!(has(&said, "disk-overdue") && !has(&said, "disk-stall"), "{said:#?}");
        assert!(!has(&said, "lock-wait"), "reported twice: {said:#?}");
    }
}

#[test]
fn a_recorded_frozen_file_system_is_named_by_its_mount() {
    let kernel = recorded!("fs-freeze-6.1");
    let mounts = kernel.look.as_ref().unwrap().machine.mounts.clone().unwrap();
    let frozen = mounts.frozen().next().unwrap();
    let path = &mounts.mounts.iter().find(|it| it.super_block == frozen.address).unwrap().path;
    let said = conclude(&with(kernel));
    assert_eq!((said.class, said.findings[0].rule.as_str()), (Class::LockWait, "fs-frozen"));
    assert_eq!(said.findings[0].details["mount"], *path);
    assert_eq!(said.findings[0].details["waiters"], "3 tasks");
    assert!(!has(&said, "lock-wait") && !has(&said, "lock-chain"), "{said:#?}");
}

#[test]
fn a_look_at_a_recorded_healthy_guest_finds_nothing() {
    let said = conclude(&looked_at(recorded!("idle-6.1")));
    assert_eq!(said.class, Class::Well, "{said:#?}");
    assert_eq!(said.findings.len(), 1, "{said:#?}");
}

#[test]
fn two_tasks_that_wait_for_each_other_are_a_deadlock_and_those_behind_are_counted() {
    let said = conclude(&with(seen(vec![
        edge(10, "mutex", &[11], "listed"),
        edge(11, "mutex", &[10], "noted"),
        edge(12, "rwsem", &[11], "listed"),
    ])));
    let ring = finding(&said, "deadlock");
    assert_eq!((said.class, ring.confidence), (Class::LockWait, Confidence::Certain));
    assert_eq!(said.findings[0].rule, "deadlock");
    assert_eq!(ring.details["ring"], "task-10 (pid 10), then task-11 (pid 11)");
    assert_eq!(ring.details["behind"], "1 more task");
    assert!(!has(&said, "lock-wait"), "{said:#?}");
}

#[test]
fn what_only_a_stack_says_accuses_nobody() {
    let said =
        conclude(&with(seen(vec![edge(10, "mutex", &[11], "frames"), edge(11, "mutex", &[10], "frames")])));
    assert!(!has(&said, "deadlock") && !has(&said, "lock-chain"), "{said:#?}");
}

#[test]
fn a_wait_that_has_just_begun_is_no_sign() {
    let mut young = edge(10, "mutex", &[11], "listed");
    young.waiting_ns = Some(3_000_000);
    assert!(!has(&conclude(&with(seen(vec![young]))), "lock-chain"));
}

#[test]
fn five_seconds_behind_a_lock_are_no_sign_where_nobody_complains() {
    let said = conclude(&looked_at(seen(vec![edge(10, "mutex", &[11], "listed")])));
    assert_eq!(said.class, Class::Well, "{said:#?}");
}

#[test]
fn a_holder_that_runs_may_let_go() {
    let mut kernel = seen(vec![edge(10, "mutex", &[11], "listed")]);
    let holder = kernel.tasks.as_mut().unwrap().iter_mut().find(|it| it.pid == Some(11)).unwrap();
    (holder.state, holder.on_cpu) = (Some(TaskState::R), Some(1));
    let said = conclude(&with(kernel));
    let chain = finding(&said, "lock-chain");
    assert_eq!((chain.confidence, chain.details["does"].as_str()), (Confidence::Possible, "runs on CPU 1"));
    assert!(chain.evidence.iter().any(|it| !it.supports));
}

#[test]
fn one_that_queues_behind_a_read_of_a_disk_is_no_chain() {
    let io = edge(11, "page-io", &[], "queued");
    let said = conclude(&with(seen(vec![edge(10, "mutex", &[11], "listed"), io])));
    assert!(!has(&said, "lock-chain"), "{said:#?}");
}

#[test]
fn a_frozen_file_system_that_nobody_waits_for_is_no_trouble() {
    let mut kernel = recorded!("fs-freeze-6.1");
    kernel.look.as_mut().unwrap().waits = WaitGraph::default();
    kernel.tasks = Some(vec![]);
    assert!(!has(&conclude(&with(kernel)), "fs-frozen"));
}

/// The border of the recorded disk, with this debtor.
fn owed(mut kernel: KernelSeen, debtor: Value) -> KernelSeen {
    let queue = json!({ "index": 1, "name": "req.1", "avail_idx": 1, "last_used_idx": 0, "outstanding": 1, "who_owes": debtor, "evidence": ["QEMU holds 1 request and sleeps"] });
    let device = json!({ "name": "virtio2", "serves": ["vdb"], "backend": ["nbd:unix:/run/nbd.sock"], "threads": [{ "tid": 71, "comm": "iothread", "state": "S", "cpu_percent": 0 }], "queues": [queue], "who_owes": debtor });
    kernel.border = Some(serde_json::from_value(json!({ "devices": [device] })).unwrap());
    kernel
}

#[test]
fn whoever_owes_the_answer_of_a_disk_is_named_with_what_to_do() {
    let catalogue = vmward_findings::catalogue::Catalogue::built_in().unwrap();
    for (who, word, step) in [
        ("host-storage", "the storage of the host has to act", "nbd:unix:/run/nbd.sock"),
        ("qemu", "QEMU has to act", "71 (iothread)"),
        ("lost-kick", "a lost kick", "virtio2"),
        ("lost-interrupt", "a lost interrupt", "/proc/interrupts"),
        ("guest", "the guest's own driver has to act", "virtio2"),
    ] {
        let mut kernel = owed(recorded!("lock-chain-6.1"), json!({ "who": who }));
        // Only the one that reads waits.
        kernel.look.as_mut().unwrap().waits.edges.retain(|it| it.owners.is_empty());
        kernel.tasks.as_mut().unwrap().retain(|it| !it.comm.starts_with("app-writer"));
        let said = conclude(&with(kernel));
        assert_eq!(said.class, Class::DiskStall, "{said:#?}");
        let words = catalogue.words(&said.findings[0]);
        assert!(words.sentence.contains("Disk vdb") && words.sentence.contains(word), "{}", words.sentence);
        assert!(words.next_steps.iter().any(|it| it.contains(step)), "{who}: {:#?}", words.next_steps);
        assert!(words.next_steps.iter().all(|it| !it.is_empty()));
    }
    let moving = conclude(&with(owed(recorded!("lock-chain-6.1"), json!({ "who": "moving" }))));
    assert_eq!(finding(&moving, "disk-overdue").confidence, Confidence::Possible);
}

#[test]
fn a_cpu_that_does_not_schedule_is_named_with_what_it_runs() {
    let kernel = machine(
        recorded!("idle-6.1"),
        "watchdog",
        json!({ "enabled": true, "threshold_sec": 10, "cpus": [
            { "cpu": 0, "untouched_sec": 2, "soft_lockup": false, "timer_ticks": 9 },
            { "cpu": 1, "untouched_sec": 27, "soft_lockup": true, "timer_ticks": 9 }
        ] }),
    );
    let queue = json!([{ "cpu": 1, "current": { "pid": 93, "comm": "spinner", "address": 0 }, "idle": false, "clock_nsec": 0, "nr_running": 1, "fair": 1, "real_time": 0, "deadline": 0, "nr_switches": 0, "nr_iowait": 0 }]);
    let said = conclude(&with(machine(kernel, "run_queues", queue)));
    let stuck = finding(&said, "soft-lockup");
    assert_eq!((said.class, stuck.confidence), (Class::CpuSpin, Confidence::Likely));
    assert_eq!((stuck.details["cpu"].as_str(), stuck.details["running"].as_str()), ("1", "spinner (pid 93)"));
    assert_eq!(stuck.details["since"], "27 s");
}

#[test]
fn a_grace_period_that_does_not_end_names_whom_it_waits_for() {
    let rcu = |stalled: bool, age_ms: u64| json!({ "gp_seq": 5, "in_progress": true, "age_ms": age_ms, "stalled": stalled, "waiting_cpus": [0], "expedited_cpus": [], "waiting_tasks": [], "callbacks": [] });
    let of = |stalled, age_ms| machine(recorded!("idle-6.1"), "rcu", rcu(stalled, age_ms));
    let said = conclude(&with(of(true, 25_000)));
    assert_eq!((said.class, finding(&said, "rcu-stall").confidence), (Class::CpuSpin, Confidence::Likely));
    assert!(finding(&said, "rcu-stall").details["blamed"].starts_with("CPU 0"));
    assert_eq!(finding(&conclude(&with(of(false, 6_000))), "rcu-stall").confidence, Confidence::Possible);
    assert!(!has(&conclude(&with(of(false, 900))), "rcu-stall"));
    assert!(!has(&conclude(&looked_at(of(false, 6_000))), "rcu-stall"));
}

#[test]
fn whoever_has_the_memory_is_named() {
    let memory = json!({
        "page_size": 4096, "total": 120_000, "nodes": [{ "node": 0, "kswapd_failures": 16 }],
        "zones": [{ "node": 0, "name": "DMA32", "free": 900, "min": 662, "low": 827, "high": 992, "managed": 120_000, "free_blocks": [] }],
        "counters": { "nr_free_pages": 900, "nr_active_file": 100, "nr_inactive_file": 50, "nr_slab_unreclaimable": 4000 }, "events": {}, "swap": [0, 0]
    });
    let mut kernel = machine(recorded!("lock-chain-6.1"), "memory", memory);
    kernel.look.as_mut().unwrap().waits = WaitGraph::default();
    let hog = kernel.tasks.as_mut().unwrap().iter_mut().find(|it| it.comm == "app-writer-1").unwrap();
    hog.memory = serde_json::from_value(
        json!({ "virtual_bytes": 1, "resident_bytes": 400 << 20, "anonymous_bytes": 1, "swapped_bytes": 0 }),
    )
    .unwrap();
    let said = conclude(&with(kernel));
    let used = finding(&said, "memory-exhausted");
    assert_eq!(said.class, Class::MemoryThrash, "{said:#?}");
    assert!(used.details["who"].contains("400 MiB"), "{said:#?}");
    assert!(!has(&said, "memory-thrash"), "reported twice: {said:#?}");
}

#[test]
fn work_that_nobody_begins_is_told_beside_the_cause() {
    let pools = |stalled_ms: u64| {
        json!([{ "id": 2, "cpu": 1, "workers": 2, "idle": 0, "pending": 3, "pending_functions": ["vmstat_update"], "stalled_ms": stalled_ms,
                 "running": [{ "worker": { "pid": 40, "comm": "kworker/1:1", "address": 0 }, "function": "wb_workfn" }] }])
    };
    let of = |stalled_ms| machine(recorded!("idle-6.1"), "workqueues", pools(stalled_ms));
    let said = conclude(&with(of(45_000)));
    let hung = finding(&said, "workqueue-hung");
    assert_eq!((hung.class, hung.confidence), (Class::Suspect, Confidence::Likely));
    assert_eq!(
        (hung.details["function"].as_str(), hung.details["pool"].as_str()),
        ("wb_workfn", "pool 2 of CPU 1")
    );
    assert!(!has(&conclude(&looked_at(of(9_000))), "workqueue-hung"));
}

#[test]
fn a_panic_that_the_console_does_not_show_is_read_from_memory() {
    let system = |cpu: Value| {
        let taint = json!([{ "bit": 7, "letter": "D", "reason": "the kernel died before" }]);
        json!({ "release": "", "version": "", "node": "", "machine": "", "command_line": "", "load": { "one": 0, "five": 0, "fifteen": 0 },
                "tainted": 128, "taints": taint, "panic": { "cpu": cpu, "oops_in_progress": 0, "panic_on_oops": false, "panic_timeout": 0 }, "online": [0] })
    };
    let of = |cpu: Value| machine(recorded!("idle-6.1"), "system", system(cpu));
    let said = conclude(&with(of(json!(1))));
    assert_eq!((said.class, said.findings[0].rule.as_str()), (Class::Panicked, "panic-in-memory"));
    let said = conclude(&with(of(json!(1))).trouble("panic", "Kernel panic - not syncing: x"));
    assert_eq!(said.findings[0].rule, "panicked");
    assert!(!has(&said, "panic-in-memory") && !has(&said, "oops-in-memory"));
    let said = conclude(&with(of(Value::Null)));
    assert_eq!(finding(&said, "oops-in-memory").confidence, Confidence::Possible);
    // An oops of some time ago does not make a well guest unwell.
    assert_eq!(conclude(&looked_at(of(Value::Null))).class, Class::Well);
}
