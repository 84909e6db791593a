//! `fs-freeze`: the application's file system is frozen (FIFREEZE), as a snapshot tool that died leaves it.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct FsFreeze;

impl Fault for FsFreeze {
    fn name(&self) -> &'static str {
        "fs-freeze"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the file system is frozen and its writers wait")
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        truth::healed_by_patient(guest, self.name())
    }
}
