//! `wire-log` (L0): the last exchanges with QEMU's monitor. Holds the answers word for word, registers
//! among them, hence its sensitivity.

use std::time::Duration;

use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Outcome, Raw, Step, Taken, Turn};

pub(super) struct WireLog;

impl Capture for WireLog {
    fn name(&self) -> &'static str {
        "wire-log"
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
        1 << 20
    }

    fn turn(&self) -> Turn {
        Turn::Last
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let log = cx.monitor()?.wire_log();
            let raw = Raw { kind: "wire-log", ..Raw::text(log, Sensitivity::Memory) };
            Ok(Taken { raw: vec![raw], ..Taken::default() })
        })
    }
}
