//! `fork-bomb`: processes are made until the cgroup's `pids.max` is reached, the shell's cgroup included.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct ForkBomb;

impl Fault for ForkBomb {
    fn name(&self) -> &'static str {
        "fork-bomb"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "fork fails")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
