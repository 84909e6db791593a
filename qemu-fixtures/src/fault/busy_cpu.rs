//! `busy-cpu`: an ordinary task per CPU computes all the time. Harmless.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct BusyCpu;

impl Fault for BusyCpu {
    fn name(&self) -> &'static str {
        "busy-cpu"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "every CPU is busy with ordinary tasks")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
