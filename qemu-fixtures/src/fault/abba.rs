//! `abba`: two tasks take two mutexes in opposite order and wait for each other for ever. Made by a
//! small kernel module, on the kernel whose headers are pinned.

use anyhow::Result;

use super::{Fault, Proof, truth};
use crate::abba::module;
use crate::qemu::Guest;
use crate::standard::Patient;

/// See the file's header.
#[derive(Debug)]
pub struct Abba;

impl Fault for Abba {
    fn name(&self) -> &'static str {
        "abba"
    }

    fn prepare(&self, mut patient: Patient) -> Result<Patient> {
        let module = module(&patient.cache, &patient.kernel)?;
        patient.initramfs = patient.initramfs.file("modules/abba.ko", &module)?;
        Ok(patient)
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        truth::shown_by_patient(guest, self.name(), "two tasks wait for each other's mutex")
    }
}
