//! Faults on real Debian kernels: each test makes one and believes its proof, then looks once more
//! with its own eyes. `all_` sweeps every fault.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_qemu_fixtures::fault::{self, Proof};
use vmward_qemu_fixtures::qemu::{Error, Guest};

const KERNEL: &str = "amd64-6.1";
const SOON: Duration = Duration::from_secs(20);

/// Starts the standard guest and makes the fault `name`. A run that the emulator itself killed is
/// made again, three times at most.
fn broken(kernel: &str, name: &str) -> Result<(Guest, Proof)> {
    let fault = fault::find(name)?;
    let mut voids = Vec::new();
    while voids.len() < 3 {
        let mut guest = fault::start(kernel, fault)?;
        let made = fault.inject(&mut guest);
        if let Err(Error::Voided { line }) = guest.check_not_void() {
            voids.push(line);
            continue;
        }
        let proof = made.with_context(|| {
            let text = guest.console_text().unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(15).collect();
            format!("{name} on {kernel}; console ends with {tail:#?}")
        })?;
        return Ok((guest, proof));
    }
    bail!("{name} on {kernel}: every run void: {voids:?}")
}

/// Whether the application still writes labels.
fn labels_go_on(guest: &mut Guest) -> Result<bool> {
    let count = |guest: &Guest| guest.console_text().map(|text| text.matches("app: label").count());
    let before = count(guest)?;
    std::thread::sleep(Duration::from_secs(6));
    Ok(count(guest)? > before)
}

#[test]
fn all_a_panic_is_on_the_console() -> Result<()> {
    let (mut guest, _) = broken(KERNEL, "panic")?;
    ensure!(!labels_go_on(&mut guest)?);
    ensure!(guest.qmp()?.status()? == "running", "a panicked guest is left as it is");
    Ok(())
}

#[test]
fn a_stalled_disk_stops_the_application_and_a_healed_one_lets_it_go_on() -> Result<()> {
    let (mut guest, proof) = broken(KERNEL, "disk-stall")?;
    ensure!(proof.facts["owed"].as_u64() > Some(0), "{proof:?}");
    ensure!(!labels_go_on(&mut guest)?);
    // The guest is not hung: its control agent answers.
    guest.control("ping", SOON)?;
    fault::find("disk-stall")?.heal(&mut guest)?;
    ensure!(labels_go_on(&mut guest)?);
    Ok(())
}

#[test]
fn all_a_lock_chain_has_a_holder_and_two_waiters() -> Result<()> {
    let (mut guest, proof) = broken(KERNEL, "lock-chain")?;
    ensure!(proof.facts["tasks"].as_array().map(Vec::len) >= Some(3), "{proof:?}");
    ensure!(!labels_go_on(&mut guest)?, "the application does not wait for the lock");
    guest.control("ping", SOON)?;
    Ok(())
}

#[test]
fn all_one_vcpu_spins_with_interrupts_off() -> Result<()> {
    let (mut guest, proof) = broken(KERNEL, "irq-off-one")?;
    ensure!(proof.facts["spinning"] == 1, "{proof:?}");
    guest.check_alive()?;
    Ok(())
}

#[test]
fn all_realtime_spinners_leave_nothing_to_others() -> Result<()> {
    let (mut guest, _) = broken(KERNEL, "rt-spin")?;
    ensure!(guest.next_beat(Duration::from_secs(3)).is_err());
    ensure!(guest.qmp()?.status()? == "running");
    Ok(())
}

#[test]
fn all_a_stopped_qemu_says_nothing_and_goes_on_afterwards() -> Result<()> {
    let (mut guest, _) = broken(KERNEL, "qemu-stopped")?;
    ensure!(guest.qmp()?.execute_within("query-status", serde_json::json!({}), SOON / 10).is_err());
    fault::find("qemu-stopped")?.heal(&mut guest)?;
    ensure!(labels_go_on(&mut guest)?);
    Ok(())
}

#[test]
fn nothing_is_left_of_a_guest_whose_owner_was_killed() -> Result<()> {
    let mut owner = std::process::Command::new(env!("CARGO_BIN_EXE_qemu-fixtures"))
        .args(["start", "unikernel-idle"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = owner.stdout.take().context("no stdout")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
    let described: serde_json::Value = serde_json::from_str(&line)?;
    let folder = std::path::PathBuf::from(described["folder"].as_str().context("no folder")?);
    let process = std::path::PathBuf::from(format!("/proc/{}/exe", described["pid"]));
    ensure!(folder.exists() && process.exists());
    owner.kill()?;
    owner.wait()?;
    let deadline = std::time::Instant::now() + SOON;
    while folder.exists() || process.exists() {
        ensure!(std::time::Instant::now() < deadline, "{described} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Every fault on the main kernel proves itself, and what should stop the application does.
#[test]
fn all_faults_happen_on_the_main_kernel() -> Result<()> {
    let mut failed = Vec::new();
    for entry in Catalogue::shipped()?.faults {
        let began = std::time::Instant::now();
        let outcome = broken(KERNEL, &entry.name).and_then(|(mut guest, _)| {
            let stops = entry.noticed_by.as_deref() == Some("app-label");
            let pauses = entry.name == "paused" || entry.name == "reboot" || entry.name == "migrate";
            if stops || entry.stay_well.iter().any(|it| it == "app-label") {
                ensure!(labels_go_on(&mut guest)? != stops, "labels go on: {}", !stops);
            } else if entry.is_harmless() && !pauses {
                ensure!(labels_go_on(&mut guest)?, "a harmless fault stopped the labels");
            }
            Ok(())
        });
        let took = began.elapsed().as_secs();
        match outcome {
            Ok(()) => eprintln!("{:<18} proved, {took} s", entry.name),
            Err(err) => {
                eprintln!("{:<18} FAILED, {took} s: {err:#}", entry.name);
                failed.push(entry.name);
            }
        }
    }
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

/// The faults that are promised on other kernels prove themselves there too.
#[test]
fn all_faults_happen_on_their_other_kernels() -> Result<()> {
    let mut failed = Vec::new();
    for entry in Catalogue::shipped()?.faults {
        for kernel in entry.kernels.iter().filter(|it| *it != KERNEL) {
            match broken(kernel, &entry.name) {
                Ok(_) => eprintln!("{:<18} proved on {kernel}", entry.name),
                Err(err) => {
                    eprintln!("{:<18} FAILED on {kernel}: {err:#}", entry.name);
                    failed.push(format!("{} on {kernel}", entry.name));
                }
            }
        }
    }
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}
