//! `snapshot`: an overlay is put on the application's disk while the guest runs, as backup tools do.
//! Harmless.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct Snapshot;

impl Fault for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let overlay = guest.folder().join("overlay.qcow2");
        let arguments = json!({ "device": "vda", "snapshot-file": overlay, "format": "qcow2" });
        guest.qmp()?.execute("blockdev-snapshot-sync", arguments)?;
        let size = std::fs::metadata(&overlay).context("QEMU made no overlay")?.len();
        let status = guest.qmp()?.status()?;
        ensure!(status == "running", "QEMU says {status}");
        Ok(Proof::new("the disk has an overlay and the guest runs", json!({ "bytes": size })))
    }

    fn heal(&self, _guest: &mut Guest) -> Result<()> {
        Ok(())
    }
}
