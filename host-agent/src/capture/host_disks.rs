//! `host-disks` (L0): files and devices that QEMU has open as disks, and what the host's block layer has
//! in flight for them. Looks at no file behind a link: see [`crate::node::disks`].

use std::path::Path;
use std::time::Duration;

use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Raw, Step, Taken};
use crate::node::disks;

const READ: Duration = Duration::from_millis(800);

pub(super) struct HostDisks;

impl Capture for HostDisks {
    fn name(&self) -> &'static str {
        "host-disks"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Host
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn cap(&self) -> usize {
        128 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let fds = cx.process.fds(READ).await.map_err(|e| Miss::Failed(e.to_string()))?;
            let mut missing = Vec::new();
            // The command line waits for QEMU's memory map, so it may be missing while QEMU is stuck.
            let cmdline = cx.process.file("cmdline", 256 << 10, READ).await.unwrap_or_else(|why| {
                missing.push(format!("network disks: {why}"));
                Vec::new()
            });
            let mounts = cx.process.file("mountinfo", 1 << 20, READ).await.unwrap_or_else(|why| {
                missing.push(why.to_string());
                Vec::new()
            });
            let work =
                move || disks::list(&fds, &String::from_utf8_lossy(&mounts), &cmdline, Path::new("/sys"));
            let disks = cx.process.run("disks", READ, work).await.map_err(|e| Miss::Failed(e.to_string()))?;
            let raw = vec![Raw::text(disks.join("\n"), Sensitivity::Status)];
            Ok(Taken { parts: vec![Part::Disks(disks)], raw, missing, paused_us: 0 })
        })
    }
}
