//! `migrate`: the guest moves to a second QEMU on the same disks, and the first one is left in
//! `postmigrate`, as a management layer sees it for a moment. Harmless.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::{Fault, Proof};
use crate::qemu::Guest;

/// A 512 MiB guest takes seconds; the host may be busy.
const MOVE_WAIT: Duration = Duration::from_secs(120);

/// See the file's header.
#[derive(Debug)]
pub struct Migrate;

impl Fault for Migrate {
    fn name(&self) -> &'static str {
        "migrate"
    }

    /// Afterwards [`Guest::twin_guest`] is where the guest runs.
    fn inject(&self, guest: &mut Guest) -> Result<Proof> {
        let before = guest.next_beat(Duration::from_secs(10))?;
        let socket = guest.folder().join("migrate.sock");
        let uri = format!("unix:{}", socket.display());
        let mut twin = guest.twin().incoming(&uri).start()?;
        send(guest, &uri)?;
        wait_running(&mut twin)?;
        let after = beat_after(&mut twin, before)?;
        let status = guest.qmp()?.status()?;
        guest.keep_twin(twin);
        let facts = json!({ "source": status, "beat_before": before, "beat_after": after });
        Ok(Proof::new("the guest runs in the second QEMU", facts))
    }

    /// Ends the first QEMU and makes the second one the guest.
    fn heal(&self, guest: &mut Guest) -> Result<()> {
        Ok(guest.become_twin()?)
    }
}

/// Migrates to `uri` and waits for the end.
pub(super) fn send(guest: &mut Guest, uri: &str) -> Result<()> {
    guest.qmp()?.execute("migrate", json!({ "uri": uri }))?;
    let deadline = Instant::now() + MOVE_WAIT;
    loop {
        let state = guest.qmp()?.execute("query-migrate", json!({}))?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => bail!("the migration to {uri} failed: {state}"),
            _ => ensure!(Instant::now() < deadline, "the migration to {uri} does not end: {state}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the receiving QEMU runs the guest.
pub(super) fn wait_running(guest: &mut Guest) -> Result<()> {
    let deadline = Instant::now() + MOVE_WAIT;
    loop {
        let status = guest.qmp()?.status()?;
        if status == "running" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the receiving QEMU is {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A beat with a higher number than `before`: the same boot goes on.
pub(super) fn beat_after(guest: &mut Guest, before: u64) -> Result<u64> {
    let beat = guest.next_beat(Duration::from_secs(30))?;
    ensure!(beat > before, "beat {beat} after {before}: the guest booted anew");
    Ok(beat)
}
