//! The same guest in another QEMU: both ends of a migration, and a restore from a file.

use super::args::disk_copy;
use super::builder::Builder;
use super::devices::Source;
use super::guest::Guest;
use super::launch::launch;
use super::{Error, Result};

impl Guest {
    /// Ends this QEMU and starts another in the same folder, with the same sockets and the same
    /// disks (their contents kept), that waits for a migration from `uri`: what a management
    /// layer does when it restores a saved guest.
    pub fn restart_incoming(&mut self, uri: &str) -> Result<()> {
        // As managers of guests do: asked first, which QEMU announces (SHUTDOWN, host-qmp-quit).
        if let Ok(qmp) = self.qmp() {
            let _ended = qmp.execute("quit", serde_json::json!({}));
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        self.kill()?;
        // The monitor socket of the old one must not be taken for the new one's.
        let socket = self.run.file("fixture.sock");
        match std::fs::remove_file(&socket) {
            // A QEMU that ended in an orderly way has removed it itself.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(Error::io("cannot remove", &socket))?,
        }
        let builder = self.builder.clone().incoming(uri);
        self.process = launch(&builder, &mut self.run)?;
        self.connect_monitor()
    }

    /// Keeps the QEMU that this guest was migrated to.
    pub fn keep_twin(&mut self, twin: Guest) {
        self.twin = Some(Box::new(twin));
    }

    /// The QEMU that this guest was migrated to.
    pub fn twin_guest(&mut self) -> Option<&mut Guest> {
        self.twin.as_deref_mut()
    }

    /// Ends this QEMU, and keeps on as the one that it was migrated to. This guest's disks are still
    /// served from its folder, which stays as long as the new one.
    pub fn become_twin(&mut self) -> Result<()> {
        let twin = self.twin.take();
        let twin = *twin.ok_or_else(|| Error::Setup("the guest was not migrated".to_owned()))?;
        self.kill()?;
        let old = std::mem::replace(self, twin);
        self.twin = Some(Box::new(old));
        Ok(())
    }

    /// A description of the same guest on the same disks, for the other end of a migration.
    pub fn twin(&self) -> Builder {
        let mut builder = self.builder.clone();
        for disk in &mut builder.disks {
            disk.source = match &disk.source {
                Source::CopyOf(_) => Source::File(disk_copy(self.run.path(), &disk.name)),
                Source::NbdCopyOf(_) => {
                    Source::NbdSocket { socket: self.run.file("nbd.sock"), export: disk.name.clone() }
                }
                other => other.clone(),
            };
        }
        builder
    }
}
