//! `init-dies`: PID 1 ends, and the kernel panics for it.

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct InitDies;

impl Fault for InitDies {
    fn name(&self) -> &'static str {
        "init-dies"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let armed = truth::armed_by_patient(guest, self.name())?;
        guest.wait_console("Attempted to kill init", Duration::from_secs(30))?;
        guest.check_not_void()?;
        Ok(Proof::new("the kernel says that init died", armed))
    }
}
