//! `panic`: the kernel panics (SysRq `c`).

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct Panic;

impl Fault for Panic {
    fn name(&self) -> &'static str {
        "panic"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let armed = truth::armed_by_patient(guest, self.name())?;
        guest.wait_console("Kernel panic - not syncing", Duration::from_secs(30))?;
        guest.check_not_void()?;
        Ok(Proof::new("the kernel says that it panicked", armed))
    }
}
