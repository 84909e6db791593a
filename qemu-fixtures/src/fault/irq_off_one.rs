//! `irq-off-one`: one vCPU spins in the kernel with interrupts off, the others work until they need it.

use std::time::Duration;

use anyhow::Result;

use super::truth::{self, Spoil};
use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct IrqOffOne;

impl Fault for IrqOffOne {
    fn name(&self) -> &'static str {
        "irq-off-one"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let address = truth::spoil_and_call(guest, Spoil::Spin, "one-cpu")?;
        let facts = truth::spinning(guest, address, 1, Duration::from_secs(30))?;
        Ok(Proof::new("one vCPU spins with interrupts off", facts))
    }
}
