//! `rt-spin`: a FIFO-99 spinner per CPU with throttling off (and the fair server's runtime 0 where there is one).

use std::time::Duration;

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct RtSpin;

impl Fault for RtSpin {
    fn name(&self) -> &'static str {
        "rt-spin"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::armed_by_patient(guest, self.name())?;
        let facts = truth::beats_stop(guest, Duration::from_secs(30))?;
        guest.check_not_void()?;
        Ok(Proof::new("ordinary tasks do not run any more: the beats stopped", facts))
    }
}
