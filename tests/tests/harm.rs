//! First, do no harm: what a diagnosis must leave as it was.

use std::time::Duration;

use anyhow::{Result, ensure};
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_tests::still::resident;
use vmward_tests::ward::{Plan, Ward};

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
