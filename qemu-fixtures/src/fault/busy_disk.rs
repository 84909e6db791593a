//! `busy-disk`: the disk is written all the time. Harmless.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct BusyDisk;

impl Fault for BusyDisk {
    fn name(&self) -> &'static str {
        "busy-disk"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the disk is busy and answers")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
