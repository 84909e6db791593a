//! What a look at the guest's memory adds: pictures of real guests (`tests/recorded`, read by the lens from
//! images of the house's own), and some made by hand.

use serde_json::json;
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
