//! `rt-spin-throttled`: a FIFO-99 spinner per CPU with the kernel's default throttling: slow, not hung.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct RtSpinThrottled;

impl Fault for RtSpinThrottled {
    fn name(&self) -> &'static str {
        "rt-spin-throttled"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the spinners use up what throttling leaves them")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
