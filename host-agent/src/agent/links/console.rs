//! Watches the console: reads its stream as facts for the actor.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use vmward_console_log::{BootMark, Event, EventKind, LabelRule, Reader, Trouble, TroubleKind};
use vmward_model::observed::BootPhase;

use crate::agent::guest::seen::{self, Seen};
use crate::transport::console::{Console, LinkState};
use crate::word::word;

/// Taken at once; small, so that no round waits long behind the reading of a flood.
const PIECE: usize = 1 << 10;
/// A report is over when the console was quiet for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Reads until nobody listens.
pub(super) async fn watch(console: Console, labels: Vec<LabelRule>, send: mpsc::Sender<Seen>) {
    let mut position = 0;
    let mut stream = Stream::new(labels);
    let mut link: Option<Result<(), String>> = None;
    loop {
        let mut out = Vec::new();
        let now = state(&console.state());
        if link.as_ref() != Some(&now) {
            link = Some(now.clone());
            out.push(seen::Console::Link(now));
        }
        if console.beyond(position, QUIET).await {
            let piece = console.read_from(position, PIECE);
            let began = Instant::now();
            position = piece.end();
            out.push(seen::Console::Bytes(piece.bytes.len() as u64));
            if piece.missed > 0 {
                stream.skip(piece.missed, &mut out);
            }
            stream.take(&piece.bytes, &mut out);
            if piece.bytes.len() >= PIECE {
                // A flood gets a third of a core at most; what does not fit is missed, not waited for.
                tokio::time::sleep((began.elapsed() * 2).max(Duration::from_millis(1))).await;
            }
        } else {
            stream.quiet(&mut out);
        }
        for it in out {
            if send.send(Seen::Console(it)).await.is_err() {
                return;
            }
        }
    }
}

fn state(it: &LinkState) -> Result<(), String> {
    match it {
        LinkState::Connected => Ok(()),
        LinkState::Connecting => Err("not connected yet".to_owned()),
        LinkState::Busy(holder) => Err(format!("it is held by {holder}")),
        LinkState::Down(why) => Err(why.clone()),
    }
}

/// The stream as facts.
struct Stream {
    reader: Reader,
    /// Kind of the report that is still being read and was told already.
    told: Option<TroubleKind>,
}

impl Stream {
    fn new(labels: Vec<LabelRule>) -> Stream {
        Stream { reader: Reader::with_labels(labels), told: None }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<seen::Console>) {
        for event in self.reader.push(bytes) {
            self.event(event, out);
        }
        // A guest that dies says nothing more: its report is told by its first line.
        let at = self.reader.offset();
        if let Some(open) = self.reader.open_trouble().filter(|_| self.told.is_none()) {
            self.told = Some(open.kind);
            report(open, (at, at), out);
        }
    }

    fn skip(&mut self, missed: u64, out: &mut Vec<seen::Console>) {
        for event in self.reader.skip(missed) {
            self.event(event, out);
        }
    }

    fn quiet(&mut self, out: &mut Vec<seen::Console>) {
        if let Some(event) = self.reader.flush() {
            self.event(event, out);
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<seen::Console>) {
        match event.kind {
            EventKind::Trouble(trouble) => {
                if self.told.take().is_none_or(|told| told != trouble.kind) {
                    report(&trouble, (event.range.start, event.range.end), out);
                }
            }
            EventKind::Boot(mark) => out.push(seen::Console::Phase(match mark {
                BootMark::Firmware | BootMark::Bootloader => BootPhase::Firmware,
                BootMark::Kernel { .. } => BootPhase::Kernel,
                BootMark::Init => BootPhase::Init,
                BootMark::Login => BootPhase::Up,
            })),
            EventKind::Shutdown(_) => out.push(seen::Console::Phase(BootPhase::ShuttingDown)),
            EventKind::Label { rule, .. } => out.push(seen::Console::Label { rule }),
            EventKind::Prompt(_) | EventKind::Shell(_) | EventKind::Sysrq(_) => {}
        }
    }
}

fn report(trouble: &Trouble, bytes: (u64, u64), out: &mut Vec<seen::Console>) {
    if trouble.kind == TroubleKind::RootWait {
        out.push(seen::Console::Phase(BootPhase::WaitsForRoot));
    }
    out.push(seen::Console::Trouble(seen::Trouble {
        kind: word(&trouble.kind),
        title: trouble.title.clone(),
        source: "console".to_owned(),
        fatal: matches!(trouble.kind, TroubleKind::Panic | TroubleKind::InitDied | TroubleKind::NoRoot),
        bytes,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(stream: &mut Stream, text: &str) -> Vec<seen::Console> {
        let mut out = Vec::new();
        stream.take(text.as_bytes(), &mut out);
        out
    }

    fn kinds(facts: &[seen::Console]) -> Vec<(&str, bool)> {
        let kind = |it: &seen::Console| match it {
            seen::Console::Trouble(it) => Some((it.kind.clone(), it.fatal)),
            _ => None,
        };
        let kinds: Vec<_> = facts.iter().filter_map(kind).collect();
        let known = ["panic", "init-died", "root-wait"];
        kinds.iter().filter_map(|(it, fatal)| Some((known.into_iter().find(|k| k == it)?, *fatal))).collect()
    }

    #[test]
    fn a_panic_is_told_by_its_first_line_and_once() {
        let mut stream = Stream::new(Vec::new());
        let first = "[   12.345678] Kernel panic - not syncing: sysrq triggered crash\r\n";
        let told = facts(&mut stream, first);
        assert_eq!(kinds(&told), [("panic", true)]);
        let rest =
            "[   12.345700] CPU: 0 PID: 1 Comm: sh Not tainted 6.1.0 #1\r\n[   12.345800] Call Trace:\r\n";
        let mut told = facts(&mut stream, rest);
        stream.quiet(&mut told);
        assert_eq!(kinds(&told), []);
    }

    #[test]
    fn labels_and_the_wait_for_a_root_device_are_facts() {
        let mut stream = Stream::new(vec![LabelRule::containing("app-label", "app: label")]);
        let told = facts(&mut stream, "[    1.0] app: label 7\r\n");
        assert!(told.contains(&seen::Console::Label { rule: "app-label".into() }), "{told:?}");
        let mut told = facts(&mut stream, "[    2.000000] Waiting for root device /dev/vdz...\r\n");
        stream.quiet(&mut told);
        assert!(told.contains(&seen::Console::Phase(BootPhase::WaitsForRoot)), "{told:?}");
    }
}
