//! `event-history` (L0): the QMP events that the agent kept, the diagnosis's own among them.

use std::time::Duration;

use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Outcome, Raw, Step, Taken, Turn};

pub(super) struct EventHistory;

impl Capture for EventHistory {
    fn name(&self) -> &'static str {
        "event-history"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn cap(&self) -> usize {
        2 << 20
    }

    fn turn(&self) -> Turn {
        Turn::Last
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let history = cx.monitor()?.history();
            let raw = Raw { kind: "events", ..Raw::json(&history, Sensitivity::Status) };
            Ok(Taken { raw: vec![raw], ..Taken::default() })
        })
    }
}
