//! `oom-thrash`: more memory is used than there is, and the swap disk is slow.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::qemu::{Disk, Guest};
use crate::standard::{Patient, blank_disk};

/// Size of the swap disk, bytes: large enough that the OOM killer is not called.
const SWAP_SIZE: u64 = 1 << 30;
/// What it gives, bytes a second and requests a second.
const SWAP_SPEED: (u64, u64) = (1 << 20, 120);

/// See the file's header.
#[derive(Debug)]
pub struct OomThrash;

impl Fault for OomThrash {
    fn name(&self) -> &'static str {
        "oom-thrash"
    }

    fn prepare(&self, patient: Patient) -> Result<Patient> {
        let image = blank_disk(&patient.cache, SWAP_SIZE)?;
        let swap =
            Disk::copy_of("vdc", image).bytes_per_second(SWAP_SPEED.0).requests_per_second(SWAP_SPEED.1);
        Ok(patient.with(|builder| builder.disk(swap)))
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "the guest swaps all the time")
    }
}
