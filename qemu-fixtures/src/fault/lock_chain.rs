//! `lock-chain`: the spare disk stops answering while a task that holds its lock reads it, and two of the
//! application's writers queue behind the lock.
//!
//! The holder keeps the disk's open mutex while it waits for the partition table, so neither the
//! disk's own statistics nor the waiters' stacks alone tell the story.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Fault, Proof, truth};
use crate::qemu::Guest;

/// See the file's header.
#[derive(Debug)]
pub struct LockChain;

impl Fault for LockChain {
    fn name(&self) -> &'static str {
        "lock-chain"
    }

    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        // The application's own disk works on: its writers must be seen waiting for the lock alone.
        guest.nbd()?.swallow("vdb")?;
        let shown = truth::asked(guest, "fault lock-chain", Duration::from_secs(60))?;
        let blocked = truth::blocked(guest, 3, Duration::from_secs(30))?;
        let swallowed = guest.nbd()?.swallowed("vdb")?;
        ensure!(swallowed > 0, "the spare disk owes nothing: {blocked}");
        guest.check_not_void()?;
        let facts = json!({ "owed": swallowed, "tasks": blocked["blocked"], "patient": shown });
        Ok(Proof::new("two tasks wait for a lock whose holder waits for the disk", facts))
    }

    fn heal(&self, guest: &mut Guest) -> Result<()> {
        Ok(guest.nbd()?.resume("vdb")?)
    }
}
