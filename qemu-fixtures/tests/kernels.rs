//! Each kernel of the lock file boots into the patient, and its locks can be tied up as the faults need.
//!
//! These are the fixtures' own smoke tests; what the agent makes of such guests is tested elsewhere.
#![expect(clippy::print_stderr, reason = "boots that were tried again are part of the result")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use vmward_qemu_fixtures::qemu::{Guest, boot_retries};
use vmward_qemu_fixtures::standard::Patient;

const WAIT: Duration = Duration::from_secs(60);

/// Boots, asks, and makes the two faults that depend most on the kernel's insides.
fn smoke(kernel: &str) -> Result<()> {
    let patient = Patient::standard(kernel)?;
    let version = patient.kernel.version.clone();
    let mut guest = patient.finish()?.boot()?;

    let stat = guest.control("stat", WAIT)?;
    ensure!(stat["release"] == version.as_str(), "booted {}, not {version}", stat["release"]);
    ensure!(stat["app"]["label"].as_u64() >= Some(1), "no label: {}", stat["app"]);
    let symbol = guest.control("symbol linux_banner", WAIT)?;
    let address = symbol["address"].as_str().context("no address")?;
    ensure!(u64::from_str_radix(address, 16)? > u64::MAX / 2, "{address} is no kernel address");

    // A server of a FUSE mount that waits for itself.
    guest.control("fault fuse-self", WAIT)?;
    in_d(&mut guest, &["fuse-server", "fuse-waiter-1", "fuse-waiter-2"])?;

    // A disk that falls silent under the holder of a lock.
    guest.nbd()?.swallow("vdb")?;
    guest.control("fault lock-chain", WAIT)?;
    in_d(&mut guest, &["lock-holder", "lock-waiter-1", "lock-waiter-2"])?;

    // Nothing of this touches the application or its beat.
    let before = guest.next_beat(WAIT)?;
    ensure!(guest.next_beat(WAIT)? > before, "the beat stands still");
    guest.check_not_void()?;
    eprintln!(
        "{kernel}: {version} is well after {} boot(s), {} retries so far",
        guest.boots(),
        boot_retries()
    );
    Ok(())
}

/// Asks the guest again, independent of the fault's own proof.
fn in_d(guest: &mut Guest, names: &[&str]) -> Result<()> {
    let answer = guest.control("tasks", WAIT)?;
    let tasks = answer["tasks"].as_array().context("no tasks")?;
    for name in names {
        let of = |it: &&Value| it["comm"] == *name;
        let task = tasks.iter().find(of).with_context(|| format!("no task {name}"))?;
        ensure!(task["state"] == "D", "{name} is not in D: {task}");
    }
    Ok(())
}

#[test]
fn all_debian_11_on_amd64() -> Result<()> {
    smoke("amd64-5.10")
}

#[test]
fn all_debian_12_on_amd64() -> Result<()> {
    smoke("amd64-6.1")
}

#[test]
fn all_debian_13_on_amd64() -> Result<()> {
    smoke("amd64-6.12")
}

#[test]
fn all_debian_unstable_on_amd64() -> Result<()> {
    smoke("amd64-7.x")
}

#[test]
fn all_debian_13_on_arm64() -> Result<()> {
    smoke("arm64-6.12")
}
