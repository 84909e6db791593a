//! `fuse-self`: a FUSE server opens a file of its own mount and waits for its own answer.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct FuseSelf;

impl Fault for FuseSelf {
    fn name(&self) -> &'static str {
        "fuse-self"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the FUSE server waits for itself")
    }
}
