//! `irq-off-spin`: every vCPU spins in the kernel with interrupts off.

use std::time::Duration;

use anyhow::Result;

use super::truth::{self, Spoil};
use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct IrqOffSpin;

impl Fault for IrqOffSpin {
    fn name(&self) -> &'static str {
        "irq-off-spin"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let address = truth::spoil_and_call(guest, Spoil::Spin, "each-cpu")?;
        let n_vcpus = guest.builder().n_vcpus() as usize;
        let facts = truth::spinning(guest, address, n_vcpus, Duration::from_secs(30))?;
        Ok(Proof::new("every vCPU spins with interrupts off", facts))
    }
}
