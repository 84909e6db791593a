//! What the findings make of looks at real guests: the culprit of each fault by name, and nothing at all of
//! guests that are well.

use anyhow::{Context, Result, ensure};
use vmward_findings::{Case, Conclusion, KernelSeen, Look, ON_DEMAND, conclude};
use vmward_kernel_facts::TaskState;
use vmward_kernel_lens::{Options, Recorder, examine};
use vmward_model::{Class, Confidence, Finding, GuestId, GuestState, Incarnation, Stamp, Verdict};
use vmward_tests::lens::{KERNELS, Pictured};

/// A case of which nothing but the look is known.
fn case(guest: &Pictured, scenario: &str) -> Result<Case> {
    let recorder = Recorder::new(guest.memory());
    let found = examine(&recorder, guest.cpus(), Options::default())?;
    let at = Stamp { utc: "2026-11-21T10:00:00Z".parse()?, mono_ms: 60_000 };
    let opening = Verdict {
        class: Class::Suspect,
        confidence: Confidence::Possible,
        scenario: scenario.to_owned(),
        at,
        evidence: Vec::new(),
    };
    let life = Incarnation { pid: 42, start_ticks: 7, boot: 0 };
    let mut case = Case::new(GuestId(uuid::Uuid::nil()), life, GuestState::Running, opening);
    let blocked = found.tasks.iter().filter(|it| it.state == Some(TaskState::D)).cloned().collect();
    case.kernel = KernelSeen {
        blocked: Some(blocked),
        tasks: Some(found.tasks),
        cpus: Some(found.cpus),
        look: Some(Look {
            kernel: found.kernel,
            waits: found.waits,
            machine: found.machine,
            problems: found.problems,
            cost: found.cost,
        }),
        ..KernelSeen::default()
    };
    Ok(case)
}

fn of_fault(fault: &str, kernel: &str) -> Result<Conclusion> {
    let guest = Pictured::of_fault(fault, kernel).with_context(|| format!("{fault} on {kernel}"))?;
    Ok(conclude(&case(&guest, "app-label")?))
}

fn first(said: &Conclusion) -> Result<&Finding> {
    said.findings.first().context("no finding")
}

#[test]
fn a_look_at_a_guest_that_is_well_finds_nothing_on_any_kernel() -> Result<()> {
    for kernel in KERNELS {
        let guest = Pictured::of(kernel)?;
        // Whether nobody complains, or somebody does for a reason that the kernel does not know.
        for scenario in [ON_DEMAND, "app-label"] {
            let said = conclude(&case(&guest, scenario)?);
            ensure!(said.findings.is_empty(), "{kernel}, {scenario}: {said:#?}");
        }
    }
    Ok(())
}

#[test]
fn the_holder_of_a_lock_is_named_before_and_since_the_new_lists_of_waiters() -> Result<()> {
    for kernel in ["amd64-6.1", "amd64-7.x"] {
        let said = of_fault("lock-chain", kernel)?;
        let chain = first(&said)?;
        ensure!(said.class == Class::LockWait && chain.rule == "lock-chain", "{kernel}: {said:#?}");
        ensure!(chain.details["root"].starts_with("lock-holder (pid "), "{kernel}: {chain:#?}");
        ensure!(chain.details["waiters"] == "2 tasks", "{kernel}: {chain:#?}");
    }
    Ok(())
}

#[test]
fn two_tasks_that_took_two_locks_in_opposite_order_are_a_ring() -> Result<()> {
    let said = of_fault("abba", "amd64-6.1")?;
    let ring = first(&said)?;
    ensure!(said.class == Class::LockWait && ring.rule == "deadlock", "{said:#?}");
    ensure!(ring.details["tasks"] == "2 tasks" && ring.confidence == Confidence::Certain, "{ring:#?}");
    Ok(())
}

#[test]
fn a_frozen_file_system_is_named_by_where_the_application_has_it() -> Result<()> {
    let said = of_fault("fs-freeze", "amd64-6.1")?;
    let frozen = first(&said)?;
    ensure!(said.class == Class::LockWait && frozen.rule == "fs-frozen", "{said:#?}");
    ensure!(frozen.details["mount"] == "/data", "{frozen:#?}");
    Ok(())
}

#[test]
fn the_disk_that_does_not_answer_is_named() -> Result<()> {
    let said = of_fault("disk-stall", "amd64-6.1")?;
    let disk = first(&said)?;
    ensure!(said.class == Class::DiskStall && disk.rule == "disk-overdue", "{said:#?}");
    ensure!(disk.details["disk"] == "vda", "{disk:#?}");
    Ok(())
}
