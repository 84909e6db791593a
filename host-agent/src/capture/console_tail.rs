//! `console-tail` (L0): what the agent's console ring holds last, and what was made of it.

use std::time::Duration;

use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Raw, Step, Taken};

pub(super) struct ConsoleTail;

/// Bytes kept of the console.
const CAP: usize = 256 << 10;

impl Capture for ConsoleTail {
    fn name(&self) -> &'static str {
        "console-tail"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Console
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn cap(&self) -> usize {
        CAP
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let Some(console) = &cx.console else {
                return Err(Miss::Skipped("no console of this guest is known".to_owned()));
            };
            let mut taken = Taken { parts: vec![Part::Console(console.seen().await)], ..Taken::default() };
            match console.tail(CAP).await {
                Ok(bytes) => taken.raw.push(Raw {
                    kind: "console",
                    media_type: "application/octet-stream",
                    sensitivity: Sensitivity::Text,
                    truncated: bytes.len() >= CAP,
                    bytes,
                }),
                Err(why) => taken.missing.push(format!("the raw bytes: {why}")),
            }
            Ok(taken)
        })
    }
}
