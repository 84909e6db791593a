//! The agent killed at random points of its diagnoses: nothing half-done, no guest left paused.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vmward::report;
use vmward_qemu_fixtures::fault;
use vmward_qemu_fixtures::qemu::Guest;
use vmward_qemu_fixtures::standard::standard_patient;
use vmward_tests::ward::{Plan, Ward};

/// Every finished bundle is whole, and a restart leaves nothing that cannot be read.
fn check_reports(ward: &Ward) -> Result<usize> {
    let mut whole = 0;
    for path in ward.bundles()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What a killed writer leaves behind is named so that no reader takes it for a report; the next
        // start sweeps it away.
        if name.starts_with('.') {
            continue;
        }
        let bundle = report::open(&path).with_context(|| format!("while opening {}", path.display()))?;
        let checked = bundle.verify().with_context(|| format!("while checking {}", path.display()))?;
        ensure!(checked.is_whole(), "{} is not whole: {checked:?}", path.display());
        whole += 1;
    }
    Ok(whole)
}

/// The guest runs, if need be after the guardian's budget.
fn check_running(guest: &mut Guest) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let status = guest.qmp()?.status()?;
        if status == "running" {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the guest is {status} ten seconds after the agent was killed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Kills the agent `n` times, each time after another delay from the notice on, and looks at what is left.
fn kill_many_times(n: u32, settings: &str, spread: Duration) -> Result<()> {
    let fault = fault::find("userspace-stop")?;
    let name = format!("vmward-kill-{}", std::process::id());
    let mut guest = standard_patient("amd64-6.1", fault)?.name(&name).boot()?;
    let mut ward = Ward::start(&Plan::for_guest(&name).with(settings))?;
    ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
    fault.inject(&mut guest)?;
    ward.wait_incident("opened", Duration::from_secs(60))?;
    for number in 0..n {
        // A permuted sweep over the diagnosis: every point of it is hit in the end, in no order.
        std::thread::sleep(spread * ((number * 37) % n) / n);
        ward.kill()?;
        check_running(&mut guest).with_context(|| format!("after kill {number}"))?;
        ward.restart()?;
        ward.wait_ready(Duration::from_secs(20))?;
        vmward_tests::ask::spawn_diagnose(&ward, &name)?;
    }
    ward.kill()?;
    ward.restart()?;
    std::thread::sleep(Duration::from_secs(2));
    let left: Vec<_> = ward
        .bundles()?
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    check_reports(&ward)?;
    // A diagnosis may run again by now, so one folder may be in the making.
    ensure!(left.len() <= 1, "half-done reports were not swept away: {left:?}");
    ensure!(ward.events()?.windows(2).all(|pair| pair[0].seq < pair[1].seq), "event numbers repeat or fall");
    Ok(())
}

#[test]
fn five_kills_leave_whole_reports_and_a_running_guest() -> Result<()> {
    kill_many_times(5, "policy = { l3 = \"never\" }\n", Duration::from_secs(4))
}

#[test]
fn all_twenty_five_kills_leave_whole_reports() -> Result<()> {
    kill_many_times(25, "", Duration::from_secs(12))
}

/// Kills that were inside a pause, and how many were tried.
struct InPauses {
    inside: u32,
    tried: u32,
}

/// Kills the agent as soon as QEMU tells of a stop, until `n` kills were inside a pause by QEMU's own
/// clock: sent after STOP and before RESUME. A pause takes about a millisecond, so some come too late.
fn kill_inside_pauses(n: u32) -> Result<InPauses> {
    let fault = fault::find("userspace-stop")?;
    let name = format!("vmward-pause-{}", std::process::id());
    let mut guest = standard_patient("amd64-6.1", fault)?.name(&name).boot()?;
    let settings = "policy = { l2 = true, l3 = \"never\" }\n";
    let mut ward = Ward::start(&Plan::for_guest(&name).with(settings))?;
    ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
    guest.qmp()?.take_events();
    fault.inject(&mut guest)?;
    let mut seen = InPauses { inside: 0, tried: 0 };
    while seen.inside < n {
        seen.tried += 1;
        ensure!(seen.tried <= 8 * n, "only {} of {} kills were inside a pause", seen.inside, seen.tried - 1);
        // A diagnosis stops the guest twice, for the dump and for the gdb stub: both are hit.
        for _ in 0..=(seen.tried % 2) {
            guest.qmp()?.wait_event("STOP", Duration::from_secs(60))?;
        }
        let killed_us = wall_us()?;
        ward.kill()?;
        check_running(&mut guest).with_context(|| format!("after kill {}", seen.tried))?;
        let resumed = guest.qmp()?.take_events().into_iter().rev().find(|it| it.name == "RESUME");
        let resumed = resumed.context("the guest runs and QEMU told of no RESUME")?;
        seen.inside += u32::from(killed_us < resumed.at_us);
        check_reports(&ward)?;
        ward.restart()?;
        ward.wait_ready(Duration::from_secs(20))?;
        guest.qmp()?.take_events();
        vmward_tests::ask::spawn_diagnose(&ward, &name)?;
    }
    Ok(seen)
}

fn wall_us() -> Result<u64> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("while reading the clock")?;
    u64::try_from(now.as_micros()).context("while reading the clock")
}

#[test]
fn all_twenty_five_kills_inside_a_pause_leave_no_guest_paused() -> Result<()> {
    let seen = kill_inside_pauses(25)?;
    // Shown in the test's output: how often the kill was fast enough.
    println!("{} of {} kills were inside a pause", seen.inside, seen.tried);
    Ok(())
}
