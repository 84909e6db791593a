//! `paused`: somebody else stops the guest by QMP `stop`. Harmless: a paused guest is not hung.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct Paused;

impl Fault for Paused {
    fn name(&self) -> &'static str {
        "paused"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        guest.qmp()?.execute("stop", json!({}))?;
        let status = guest.qmp()?.status()?;
        ensure!(status == "paused", "QEMU says {status}");
        Ok(Proof::new("QEMU says that the guest is paused", json!({ "status": status })))
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        guest.qmp()?.execute("cont", json!({}))?;
        Ok(())
    }
}
