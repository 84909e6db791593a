//! First, do no harm: what a diagnosis must leave as it was.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::qemu::Guest;
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_tests::ward::{Plan, Ward};

/// The memfd of a guest's RAM, as a file that can be asked for its resident size.
fn ram_file(guest: &Guest) -> Result<PathBuf> {
    let folder = format!("/proc/{}/fd", guest.pid());
    for entry in std::fs::read_dir(&folder).context("while listing QEMU's files")? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().contains("memfd:memory-backend")) {
            return Ok(path);
        }
    }
    anyhow::bail!("QEMU {} has no memfd: was the guest built without one?", guest.pid())
}

/// Bytes of the guest's RAM that the host has allocated.
fn resident(guest: &Guest) -> Result<u64> {
    Ok(std::fs::metadata(ram_file(guest)?).context("while looking at the guest's memory")?.blocks() * 512)
}

#[test]
fn a_diagnosis_of_a_lock_chain_leaves_the_monitor_answering_and_the_memory_as_it_was() -> Result<()> {
    let fault = fault::find("lock-chain")?;
    let name = format!("vmward-harm-{}", std::process::id());
    let mut guest = standard_patient("amd64-6.1", fault)?.name(&name).boot()?;
    let mut ward = Ward::start(&Plan::for_guest(&name).with("policy = { l3 = \"never\" }\n"))?;
    ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
    fault.inject(&mut guest)?;
    // What the guest itself still does (its shell answers `uptime`) must not be taken for ours.
    let before = resident(&guest)?;
    let (incident, _) = ward.wait_incident("opened", Duration::from_secs(30))?;
    ward.wait_incident("examined", Duration::from_secs(60))?;
    let after = resident(&guest)?;
    ensure!(
        after.saturating_sub(before) < 4 << 20,
        "the guest's memory grew from {before} to {after} bytes during the diagnosis: something read its holes"
    );
    let status = guest.qmp()?.status()?;
    ensure!(status == "running", "the monitor says {status:?} after the diagnosis");
    let bundle = ward.bundle(incident)?;
    let paused: u64 = bundle.manifest().incident.captures.iter().map(|record| record.paused_us).sum();
    ensure!(paused == 0, "the guest was paused for {paused} us");
    Ok(())
}
