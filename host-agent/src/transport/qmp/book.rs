//! What one monitor heard: a bounded ring of events and a bounded log of the wire.
//!
//! Both outlive the connections (a `Brief` monitor connects anew for each question) and go into the
//! bundle. The lock is held for the push or the copy, never over I/O.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::transport::stamp::Stamp;

/// Events kept.
const MAX_EVENTS: usize = 1024;
/// An event whose data is larger than this is kept by name only.
const MAX_EVENT_BYTES: usize = 16 << 10;
/// Bytes of wire log kept (text of all kept lines).
const MAX_WIRE_BYTES: usize = 512 << 10;
/// Bytes of one line kept in the wire log.
const MAX_WIRE_LINE: usize = 16 << 10;

/// One QMP event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Counts up by one for each event that this monitor ever saw: gaps show drops.
    pub seq: u64,
    /// When we received it.
    pub at: Stamp,
    /// QEMU's own clock, microseconds since the epoch.
    pub qemu_time_us: Option<i64>,
    /// Name, such as `GUEST_PANICKED`; may be one that no schema of ours has.
    pub name: String,
    /// Raw data.
    pub data: Value,
}

impl Event {
    /// The event in the generated types, when the schema has it.
    #[must_use]
    pub fn known(&self) -> Option<qapi::qmp::Event> {
        let micros = self.qemu_time_us.unwrap_or(0);
        serde_json::from_value(serde_json::json!({
            "event": self.name,
            "data": self.data,
            "timestamp": { "seconds": micros / 1_000_000, "microseconds": micros % 1_000_000 },
        }))
        .ok()
    }
}

/// Events as they stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventHistory {
    /// The newest events, oldest first.
    pub events: Vec<Event>,
    /// Events that the ring dropped.
    pub dropped: u64,
    /// True while one connection was held from the first event on: nothing can be missing but
    /// `dropped`. False for a `Brief` monitor and after any reconnection.
    pub complete: bool,
}

/// Direction of a line on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From us to QEMU.
    Sent,
    /// From QEMU to us.
    Received,
    /// A note of ours (connected, left, timed out).
    Note,
}

#[derive(Debug)]
struct Pages {
    events: VecDeque<Event>,
    next_seq: u64,
    dropped: u64,
    connections: u64,
    gaps: bool,
    wire: VecDeque<String>,
    wire_bytes: usize,
    wire_dropped: u64,
    strays: u64,
    garbage: u64,
}

/// The shared book of one monitor.
#[derive(Debug, Clone)]
pub struct Book {
    pages: Arc<Mutex<Pages>>,
    live: broadcast::Sender<Event>,
}

impl Default for Book {
    fn default() -> Self {
        let pages = Pages {
            events: VecDeque::new(),
            next_seq: 0,
            dropped: 0,
            connections: 0,
            gaps: false,
            wire: VecDeque::new(),
            wire_bytes: 0,
            wire_dropped: 0,
            strays: 0,
            garbage: 0,
        };
        Self { pages: Arc::new(Mutex::new(pages)), live: broadcast::channel(256).0 }
    }
}

impl Book {
    /// Events from now on. A receiver that is too slow loses the oldest and is told.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }

    /// A copy of the event ring.
    #[must_use]
    pub fn history(&self) -> EventHistory {
        let pages = self.lock();
        EventHistory {
            events: pages.events.iter().cloned().collect(),
            dropped: pages.dropped,
            complete: !pages.gaps && pages.connections == 1,
        }
    }

    /// The wire log as text: one line each, UTC, direction (`>` sent, `<` received, `#` note), bytes
    /// escaped.
    #[must_use]
    pub fn wire_log(&self) -> String {
        let pages = self.lock();
        let mut out = String::with_capacity(pages.wire_bytes + 128);
        if pages.wire_dropped > 0 {
            let _ = writeln!(out, "# {} earlier lines dropped", pages.wire_dropped);
        }
        for line in &pages.wire {
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    /// Answers that belonged to no outstanding command, and lines that were no QMP.
    #[must_use]
    pub fn oddities(&self) -> (u64, u64) {
        let pages = self.lock();
        (pages.strays, pages.garbage)
    }

    pub(super) fn incomplete(&self) {
        self.lock().gaps = true;
    }

    pub(super) fn connected(&self) {
        let mut pages = self.lock();
        pages.connections += 1;
        drop(pages);
        self.wire(Way::Note, b"connected");
    }

    pub(super) fn disconnected(&self, why: &str) {
        self.lock().gaps = true;
        self.wire(Way::Note, why.as_bytes());
    }

    pub(super) fn stray(&self) {
        self.lock().strays += 1;
    }

    pub(super) fn garbage(&self) {
        self.lock().garbage += 1;
    }

    pub(super) fn event(&self, name: String, data: Value, qemu_time_us: Option<i64>) {
        let at = Stamp::now();
        let data = if data.to_string().len() > MAX_EVENT_BYTES {
            Value::String("(too large, left out)".to_owned())
        } else {
            data
        };
        let mut pages = self.lock();
        let event = Event { seq: pages.next_seq, at, qemu_time_us, name, data };
        pages.next_seq += 1;
        if pages.events.len() >= MAX_EVENTS {
            pages.events.pop_front();
            pages.dropped += 1;
        }
        pages.events.push_back(event.clone());
        drop(pages);
        // No subscriber is no error.
        let _ = self.live.send(event);
    }

    pub(super) fn wire(&self, way: Way, line: &[u8]) {
        let mark = match way {
            Way::Sent => '>',
            Way::Received => '<',
            Way::Note => '#',
        };
        let line = line.trim_ascii_end();
        let kept = line.get(..line.len().min(MAX_WIRE_LINE)).unwrap_or_default();
        let mut text = format!("{:.6} {mark} {}", jiff::Timestamp::now(), printable(kept));
        if kept.len() < line.len() {
            let _ = write!(text, " ...({} bytes more)", line.len() - kept.len());
        }
        let mut pages = self.lock();
        pages.wire_bytes += text.len() + 1;
        pages.wire.push_back(text);
        while pages.wire_bytes > MAX_WIRE_BYTES {
            let Some(old) = pages.wire.pop_front() else {
                break;
            };
            pages.wire_bytes -= old.len() + 1;
            pages.wire_dropped += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Nothing panics under the lock; if it ever did, the counters stay usable.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON stays readable, control bytes and non-ASCII do not reach a terminal.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\x{other:02x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flood_of_events_keeps_the_newest_and_counts_the_rest() {
        let book = Book::default();
        book.connected();
        for n in 0..(MAX_EVENTS as u64 + 10) {
            book.event("RTC_CHANGE".into(), json!({ "n": n }), None);
        }
        let history = book.history();
        assert_eq!(history.events.len(), MAX_EVENTS);
        assert_eq!(history.dropped, 10);
        assert_eq!(history.events.first().unwrap().seq, 10);
        assert!(history.complete);
        book.disconnected("left");
        assert!(!book.history().complete);
    }

    #[test]
    fn the_wire_log_stays_within_its_bound_and_escapes_the_bytes() {
        let book = Book::default();
        book.wire(Way::Received, b"\x1b[31m");
        assert!(book.wire_log().contains("< \\x1b[31m"));
        for _ in 0..100 {
            book.wire(Way::Received, &[b'x'; MAX_WIRE_LINE * 2]);
        }
        let log = book.wire_log();
        assert!(log.len() <= MAX_WIRE_BYTES + 64, "{}", log.len());
        assert!(log.starts_with("# "));
        assert!(log.contains("bytes more"));
    }

    #[test]
    fn a_known_event_is_available_in_the_generated_type() {
        let book = Book::default();
        book.event("STOP".into(), json!({}), Some(1_000_001));
        let history = book.history();
        let known = history.events.first().unwrap().known();
        assert!(matches!(known, Some(qapi::qmp::Event::STOP { .. })));
    }
}
