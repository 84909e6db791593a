//! `reboot`: the guest reboots in good order and comes back. Harmless.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct Reboot;

impl Fault for Reboot {
    fn name(&self) -> &'static str {
        "reboot"
    }

    /// Returns when the machine was reset: the boot that follows is part of what must be taken for
    /// harmless. [`Fault::heal`] waits for its end.
    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let _earlier = guest.qmp()?.take_events();
        truth::armed_by_patient(guest, self.name())?;
        let event = guest.qmp()?.wait_event("RESET", Duration::from_secs(60))?;
        guest.check_not_void()?;
        Ok(Proof::new("QEMU says that the guest reset itself", json!({ "event": event.data })))
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while guest.console_text()?.matches("PATIENT READY").count() < 2 {
            ensure!(Instant::now() < deadline, "the guest did not come back");
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
