//! `boot-stuck`: the kernel waits for ever for a root device that is not there (`rootwait`).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::{Builder, Guest};
use crate::standard::Patient;

/// What the kernel prints before it waits (init/do_mounts.c).
const WAITING: &str = "Waiting for root device";

/// See the file's header.
#[derive(Debug)]
pub struct BootStuck;

impl Fault for BootStuck {
    fn name(&self) -> &'static str {
        "boot-stuck"
    }

    fn prepare(&self, patient: Patient) -> Result<Patient> {
        // With `rdinit=` naming nothing, the kernel gives up the initramfs and turns to `root=`.
        let words = "rdinit=/nowhere root=/dev/vdz rootwait";
        Ok(patient.with(|builder: Builder| builder.append(words)))
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        guest.wait_console(WAITING, Duration::from_secs(120))?;
        ensure!(!guest.console_text()?.contains("PATIENT READY"), "the guest booted");
        Ok(Proof::new("the kernel waits for its root device", json!({ "console": WAITING })))
    }

    fn boots(&self) -> bool {
        false
    }
}
