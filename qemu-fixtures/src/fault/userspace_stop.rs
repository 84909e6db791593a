//! `userspace-stop`: the cgroup freezer holds everything but PID 1 and the shell.

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct UserspaceStop;

impl Fault for UserspaceStop {
    fn name(&self) -> &'static str {
        "userspace-stop"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        // The control agent freezes itself last, so the stop of its beats comes on top.
        let frozen = truth::armed_by_patient(guest, self.name())?;
        truth::beats_stop(guest, Duration::from_secs(30))?;
        guest.check_not_void()?;
        Ok(Proof::new("the application is frozen by its cgroup", frozen))
    }
}
