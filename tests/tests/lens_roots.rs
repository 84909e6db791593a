//! The lens names the cause of every fault in which tasks wait: the task at the root of a chain and what it
//! waits for, the tasks of a ring, the disk with its request, the frozen file system.

use anyhow::{Context, Result};
use vmward_kernel_lens::{Options, Recorder, examine};
use vmward_tests::lens::Pictured;
use vmward_tests::roots;

fn cause_is_named(fault: &str, kernel: &str) -> Result<()> {
    let guest = Pictured::of_fault(fault, kernel)?;
    let recorder = Recorder::new(guest.memory());
    let found = examine(&recorder, guest.cpus(), Options::default())?;
    roots::check(fault, &found).with_context(|| format!("{fault} on {kernel}"))
}

#[test]
fn a_lock_chain_ends_at_its_holder_and_the_disk() -> Result<()> {
    cause_is_named("lock-chain", "amd64-6.1")
}

#[test]
fn two_tasks_with_two_mutexes_are_a_ring() -> Result<()> {
    cause_is_named("abba", "amd64-6.1")
}

#[test]
fn everybody_waits_for_the_disk_that_does_not_answer() -> Result<()> {
    cause_is_named("disk-stall", "amd64-6.1")
}

#[test]
fn writers_wait_for_the_frozen_file_system() -> Result<()> {
    cause_is_named("fs-freeze", "amd64-6.1")
}

/// Part of `cargo xtask test --all`: each on every kernel that it can be made on.
#[test]
fn all_causes_are_named_on_every_kernel() -> Result<()> {
    for (fault, kernels) in roots::FAULTS {
        for kernel in kernels {
            cause_is_named(fault, kernel)?;
        }
    }
    Ok(())
}
