//! `host-taps` (L0): the host's network interfaces of this guest with their counters.

use std::path::Path;
use std::time::Duration;

use vmward_model::{Rung, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Step, Taken};
use crate::node::taps;

const READ: Duration = Duration::from_secs(1);

pub(super) struct HostTaps;

impl Capture for HostTaps {
    fn name(&self) -> &'static str {
        "host-taps"
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
        16 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let fds = cx.process.fds(READ).await.map_err(|e| Miss::Failed(e.to_string()))?;
            let work = move || taps::list(&fds, Path::new("/sys/class/net"));
            let taps = cx.process.run("taps", READ, work).await.map_err(|e| Miss::Failed(e.to_string()))?;
            Ok(Taken { parts: vec![Part::Taps(taps)], ..Taken::default() })
        })
    }
}
