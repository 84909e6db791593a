//! `disk-stall`: the application's disk takes requests and answers none.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct DiskStall;

impl Fault for DiskStall {
    fn name(&self) -> &'static str {
        "disk-stall"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        guest.nbd()?.swallow("vda")?;
        let blocked = truth::blocked(guest, 1, Duration::from_secs(30))?;
        let swallowed = guest.nbd()?.swallowed("vda")?;
        ensure!(swallowed > 0, "the disk owes nothing: {blocked}");
        guest.check_not_void()?;
        let facts = json!({ "owed": swallowed, "tasks": blocked["blocked"] });
        Ok(Proof::new("the disk owes answers and tasks wait for them", facts))
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        Ok(guest.nbd()?.resume("vda")?)
    }
}
