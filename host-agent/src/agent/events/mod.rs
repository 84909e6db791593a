//! The durable event store: JSON lines in the state folder, numbers that never repeat.
//!
//! * [`Events`] is the handle that everybody emits through. It never blocks: it numbers the event
//!   and queues it; one thread writes, syncs, and only then tells the followers. When the queue is
//!   full the least severe goes first, and the gap in the numbers shows it.
//! * [`log`] is the folder: segments, rotation, the torn last line after a crash.
//! * [`read`] reads it, also from another process, and follows it.

pub mod log;
mod queue;
pub mod read;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use vmward_model::{Event, EventKind, FORMAT, GuestId, Incarnation, Severity};

use self::log::{Log, LogError};
use self::queue::Queue;
use super::clock;

/// Whose event it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The guest.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// Which life.
    pub incarnation: Option<Incarnation>,
}

/// How many events a follower may lag before it loses some.
const FOLLOWERS: usize = 256;

/// The handle of the event store. Cloning is cheap; the writer ends in an orderly way when the last
/// clone is gone.
#[derive(Clone, Debug)]
pub struct Events {
    queue: Arc<Closing>,
    live: broadcast::Sender<Event>,
}

/// Closes the queue when nobody can put anything into it any more.
#[derive(Debug)]
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Events {
    /// Opens the store in `folder` and starts its writer thread.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub fn open(folder: &Path) -> Result<Events, LogError> {
        Events::open_after(folder, 0)
    }

    /// The same; no event gets a number up to `used`: somebody may have removed the folder, and what the
    /// spool and a controller know by its number must not get another meaning.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written.
    pub fn open_after(folder: &Path, used: u64) -> Result<Events, LogError> {
        let mut log = Log::open_after(folder, used)?;
        let queue = Arc::new(Queue::new(log.next_seq()));
        let (live, _) = broadcast::channel(FOLLOWERS);
        let (theirs, tell) = (queue.clone(), live.clone());
        let write = move || {
            while let Some(batch) = theirs.take() {
                match log.append(&batch.events) {
                    // Nobody following is no error.
                    Ok(()) => batch.events.into_iter().for_each(|it| drop(tell.send(it))),
                    Err(error) => tracing::error!("{error}; {} events are lost", batch.events.len()),
                }
                theirs.wrote(batch.upto);
            }
            if let Err(error) = log.close() {
                tracing::error!("{error}");
            }
        };
        std::thread::Builder::new().name("events".into()).spawn(write).map_err(|source| LogError::Io {
            doing: "start the writer thread",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Events { queue: Arc::new(Closing(queue)), live })
    }

    /// A store that keeps nothing, for what runs without an agent.
    pub fn nowhere() -> Events {
        let queue = Arc::new(Queue::new(1));
        queue.close();
        Events { queue: Arc::new(Closing(queue)), live: broadcast::channel(1).0 }
    }

    /// Emits an event and gives it as it was numbered. Never blocks and never fails; see the
    /// module's words on a full queue.
    pub fn emit(&self, severity: Severity, about: Option<&About>, kind: EventKind) -> Event {
        let mut event = Event {
            format: FORMAT,
            seq: 0,
            at: clock::now(),
            severity,
            guest: about.map(|it| it.guest),
            name: about.map(|it| it.name.clone()),
            incarnation: about.and_then(|it| it.incarnation),
            kind,
        };
        event.seq = self.queue.0.put(event.clone());
        event
    }

    /// Waits until everything emitted so far is on disk, at most `deadline`. Gives whether it is.
    pub async fn flushed(&self, deadline: Duration) -> bool {
        let mut written = self.queue.0.written();
        let upto = self.queue.0.last_put();
        let wait = written.wait_for(|it| *it >= upto);
        matches!(tokio::time::timeout(deadline, wait).await, Ok(Ok(_)))
    }

    /// Events from now on, each already on disk.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }

    /// Lets the writer end once the queue is empty. What is emitted afterwards is dropped.
    pub fn close(&self) {
        self.queue.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(n: u32) -> EventKind {
        EventKind::Note { text: format!("note {n}") }
    }

    #[tokio::test]
    async fn what_is_flushed_is_read_back_in_order_with_numbers_that_rise_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path()).unwrap();
        let mut live = events.follow();
        for n in 0..20 {
            events.emit(Severity::Info, None, note(n));
        }
        assert!(events.flushed(Duration::from_secs(20)).await);
        let seqs: Vec<u64> = read::all(dir.path()).unwrap().iter().map(|it| it.seq).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<u64>>());
        assert_eq!(live.recv().await.unwrap().seq, 1);
    }

    #[tokio::test]
    async fn a_number_that_the_spool_knows_is_not_used_again_when_the_folder_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open_after(&dir.path().join("events"), 41).unwrap();
        assert_eq!(events.emit(Severity::Info, None, note(0)).seq, 42);
        assert!(events.flushed(Duration::from_secs(10)).await);
        let read = read::all(&dir.path().join("events")).unwrap();
        assert_eq!(read.iter().map(|it| it.seq).collect::<Vec<_>>(), [42]);
        drop(events);
    }

    #[tokio::test]
    async fn a_number_is_never_used_twice_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        for round in 1..=4 {
            let mut opened = Events::open(dir.path());
            while opened.is_err() {
                // The writer of the round before is on its way out.
                tokio::time::sleep(Duration::from_millis(5)).await;
                opened = Events::open(dir.path());
            }
            let events = opened.unwrap();
            events.emit(Severity::Warn, None, note(round));
            assert!(events.flushed(Duration::from_secs(20)).await);
            let seqs: Vec<u64> = read::all(dir.path()).unwrap().iter().map(|it| it.seq).collect();
            assert_eq!(seqs, (1..=u64::from(round)).collect::<Vec<u64>>());
        }
    }
}
