//! `host-cgroup` (L0): the cgroup of QEMU and the pressure in it, or the host's where it has none.
//!
//! What it tells: a guest that is slow because the host starves it (`cpu.some`), swaps (`memory.full`) or
//! waits for its disk (`io.full`).

use std::path::Path;
use std::time::Duration;

use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Raw, Step, Taken};
use crate::node::cgroup;

const READ: Duration = Duration::from_secs(1);

pub(super) struct HostCgroup;

impl Capture for HostCgroup {
    fn name(&self) -> &'static str {
        "host-cgroup"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Host
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn cap(&self) -> usize {
        64 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let text = cx.process.file("cgroup", 64 << 10, READ).await;
            let text = text.map_err(|e| Miss::Failed(e.to_string()))?;
            let path = cgroup::path_of(&String::from_utf8_lossy(&text));
            let own = path.clone().unwrap_or_else(|| "/".to_owned());
            let read =
                move || cgroup::pressure(Path::new("/sys/fs/cgroup"), Path::new("/proc/pressure"), &own);
            let pressure =
                cx.process.run("pressure", READ, read).await.map_err(|e| Miss::Failed(e.to_string()))?;
            let mut missing = Vec::new();
            if pressure.values.is_empty() {
                missing.push("this kernel counts no pressure (CONFIG_PSI, psi=1)".to_owned());
            } else if pressure.of_host {
                missing.push("the cgroup has no pressure of its own: the host's is shown".to_owned());
            }
            Ok(Taken {
                parts: vec![Part::Cgroup(path, pressure.values)],
                raw: vec![Raw::text(text, Sensitivity::Status)],
                missing,
                paused_us: 0,
            })
        })
    }
}
