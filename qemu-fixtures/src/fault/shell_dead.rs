//! `shell-dead`: the console's shell is gone and nobody starts another; the application works on.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct ShellDead;

impl Fault for ShellDead {
    fn name(&self) -> &'static str {
        "shell-dead"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the shell is gone")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
