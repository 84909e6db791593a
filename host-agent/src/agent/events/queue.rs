//! The bounded queue between those who emit and the one thread that writes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use vmward_model::Event;

/// At most this many events wait.
const CAPACITY: usize = 2048;

/// A queue whose lock is only ever held for a push or a swap, never over I/O.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Event>,
    next: u64,
    closed: bool,
}

/// What the writer takes at once.
pub(super) struct Batch {
    /// In the order of their numbers.
    pub(super) events: Vec<Event>,
    /// Everything up to this number is in this batch, an earlier one, or dropped.
    pub(super) upto: u64,
}

impl Queue {
    pub(super) fn new(next: u64) -> Queue {
        let inner = Inner { waiting: VecDeque::new(), next, closed: false };
        let (written, _) = watch::channel(next.saturating_sub(1));
        Queue { inner: Mutex::new(inner), wake: Condvar::new(), written }
    }

    /// Numbers the event, queues it and gives the number; drops the least severe (the oldest of those) when full.
    pub(super) fn put(&self, mut event: Event) -> u64 {
        let mut inner = self.lock();
        let seq = inner.next;
        if inner.closed {
            return seq;
        }
        event.seq = seq;
        inner.next = inner.next.saturating_add(1);
        if inner.waiting.len() >= CAPACITY {
            let least = inner.waiting.iter().enumerate().min_by_key(|(at, it)| (it.severity, *at));
            match least.map(|(at, it)| (at, it.severity)) {
                Some((at, severity)) if severity <= event.severity => drop(inner.waiting.remove(at)),
                _ => return seq,
            }
        }
        inner.waiting.push_back(event);
        self.wake.notify_one();
        seq
    }

    /// Blocks until there is something to write; none when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        loop {
            if !inner.waiting.is_empty() {
                let events = std::mem::take(&mut inner.waiting).into();
                return Some(Batch { events, upto: inner.next.saturating_sub(1) });
            }
            if inner.closed {
                return None;
            }
            inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn wrote(&self, upto: u64) {
        self.written.send_replace(upto);
    }

    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    pub(super) fn last_put(&self) -> u64 {
        self.lock().next.saturating_sub(1)
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in a critical section can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::clock;
    use vmward_model::{EventKind, FORMAT, Severity};

    fn event(severity: Severity) -> Event {
        Event {
            format: FORMAT,
            seq: 0,
            at: clock::now(),
            severity,
            guest: None,
            name: None,
            incarnation: None,
            kind: EventKind::AgentStopped,
        }
    }

    #[test]
    fn a_full_queue_loses_the_least_severe_and_shows_the_gap() {
        let queue = Queue::new(1);
        queue.put(event(Severity::Crit));
        queue.put(event(Severity::Debug));
        for _ in 0..CAPACITY {
            queue.put(event(Severity::Info));
        }
        let batch = queue.take().unwrap();
        assert_eq!(batch.events.len(), CAPACITY);
        assert_eq!(batch.upto, CAPACITY as u64 + 2);
        let seqs: Vec<u64> = batch.events.iter().map(|it| it.seq).collect();
        assert_eq!(seqs.first(), Some(&1), "the critical one stays");
        assert!(!seqs.contains(&2) && !seqs.contains(&3), "debug went first, then the oldest info");
        queue.put(event(Severity::Debug));
        queue.close();
        assert_eq!(queue.take().map(|it| it.events.len()), Some(1));
        assert!(queue.take().is_none());
    }
}
