//! A guest that waits for ever for its disk, without Linux, and what the host can see of its memory.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vmward_qemu_fixtures::qemu::{Builder, Guest};

/// Starts a guest whose firmware waits for a sector of `disk`, a disk of the builder on an NBD server,
/// which swallows the request.
///
/// # Errors
/// When it does not start, or its firmware never reads the disk.
pub async fn waiting_for(builder: Builder, disk: &str) -> Result<Guest> {
    let mut guest = builder.paused().start()?;
    guest.nbd()?.swallow(disk)?;
    guest.qmp()?.execute("cont", serde_json::json!({}))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while guest.nbd()?.swallowed(disk)? == 0 {
        ensure!(Instant::now() < deadline, "the firmware never read the silent disk");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(guest)
}

/// Bytes of the guest's RAM, which must be a memfd, that the host has allocated.
///
/// # Errors
/// When QEMU has no memfd or its files cannot be seen.
pub fn resident(guest: &Guest) -> Result<u64> {
    let folder = format!("/proc/{}/fd", guest.pid());
    for entry in std::fs::read_dir(&folder).context("while listing QEMU's files")? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|it| it.to_string_lossy().starts_with("/memfd:memory-backend"))
        {
            let ram = std::fs::metadata(&path).context("while looking at the guest's memory")?;
            return Ok(ram.blocks() * 512);
        }
    }
    bail!("QEMU {} has no memfd: was the guest built without one?", guest.pid())
}
