//! `save-restore`: the guest is migrated to a file, its QEMU ended, and a new QEMU in the same place
//! goes on from the file, as a host's reboot does it. Harmless.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Fault, Proof, migrate};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct SaveRestore;

impl Fault for SaveRestore {
    fn name(&self) -> &'static str {
        "save-restore"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let before = guest.next_beat(Duration::from_secs(10))?;
        let file = guest.folder().join("saved");
        migrate::send(guest, &format!("exec:cat > {}", file.display()))?;
        let bytes = std::fs::metadata(&file)?.len();
        guest.restart_incoming(&format!("exec:cat {}", file.display()))?;
        migrate::wait_running(guest)?;
        let after = migrate::beat_after(guest, before)?;
        guest.check_not_void()?;
        let facts = json!({ "bytes": bytes, "beat_before": before, "beat_after": after });
        Ok(Proof::new("the guest goes on where it was saved", facts))
    }

    fn heal(&self, _guest: &mut Guest) -> Result<()> {
        Ok(())
    }
}
