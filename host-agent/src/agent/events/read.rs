//! Reads the event store, from this or another process, and follows it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use vmward_model::Event;

use super::log::{MAX_LINE, segments};

/// At most this much is read at once while following.
const CHUNK: u64 = 1 << 20;

/// One line of a segment; none when it is empty, torn or not an event.
pub(super) fn line(bytes: &[u8]) -> Option<Event> {
    if bytes.is_empty() { None } else { serde_json::from_slice(bytes).ok() }
}

/// Every event that is kept, oldest first. Torn and foreign lines are left out.
///
/// # Errors
/// When the folder or a segment cannot be read.
pub fn all(folder: &Path) -> io::Result<Vec<Event>> {
    let mut follower = Follower::from_start(folder);
    let mut events = Vec::new();
    loop {
        let more = follower.poll()?;
        if more.is_empty() {
            return Ok(events);
        }
        events.extend(more);
    }
}

/// Reads events as they are written. Polled by the caller, who chooses how often.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    open: Option<(u64, File)>,
    rest: Vec<u8>,
    last: u64,
}

impl Follower {
    /// From the oldest event that is kept.
    pub fn from_start(folder: &Path) -> Follower {
        Follower { folder: folder.to_owned(), open: None, rest: Vec::new(), last: 0 }
    }

    /// From after the event numbered `seq`.
    pub fn after(folder: &Path, seq: u64) -> Follower {
        Follower { last: seq, ..Follower::from_start(folder) }
    }

    /// The events written since the last call; empty when there are none (yet).
    ///
    /// # Errors
    /// When the folder or a segment cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Event>> {
        loop {
            if self.open.is_none() && !self.next_segment()? {
                return Ok(Vec::new());
            }
            let Some((_, file)) = &mut self.open else { return Ok(Vec::new()) };
            let read = file.take(CHUNK).read_to_end(&mut self.rest)?;
            if read == 0 && !self.next_segment()? {
                return Ok(Vec::new());
            }
            let events = self.whole_lines();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Moves to the segment after the open one, or to the first that may hold what is wanted.
    fn next_segment(&mut self) -> io::Result<bool> {
        let all = match segments(&self.folder) {
            Ok(all) => all,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let next = match &self.open {
            Some((first, _)) => all.into_iter().find(|(it, _)| it > first),
            None => {
                let later = all.partition_point(|(it, _)| *it <= self.last);
                all.into_iter().nth(later.saturating_sub(1))
            }
        };
        let Some((first, path)) = next else { return Ok(false) };
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(0))?;
        self.open = Some((first, file));
        self.rest.clear();
        Ok(true)
    }

    fn whole_lines(&mut self) -> Vec<Event> {
        let Some(end) = self.rest.iter().rposition(|it| *it == b'\n') else {
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
            }
            return Vec::new();
        };
        let rest = self.rest.split_off(end.saturating_add(1));
        let whole = std::mem::replace(&mut self.rest, rest);
        let events: Vec<Event> = whole.split(|it| *it == b'\n').filter_map(line).collect();
        let events: Vec<Event> = events.into_iter().filter(|it| it.seq > self.last).collect();
        self.last = events.last().map_or(self.last, |it| it.seq);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::clock;
    use crate::agent::events::log::Log;
    use vmward_model::{EventKind, FORMAT, Severity};

    fn event(seq: u64, text: &str) -> Event {
        let kind = EventKind::Note { text: text.into() };
        let at = clock::now();
        let (guest, name, incarnation) = (None, None, None);
        Event { format: FORMAT, seq, at, severity: Severity::Info, guest, name, incarnation, kind }
    }

    #[test]
    fn a_follower_sees_each_event_once_across_segments() {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = Follower::from_start(dir.path());
        assert!(follower.poll().unwrap().is_empty());
        let mut log = Log::open(dir.path()).unwrap();
        let big = "x".repeat(900_000);
        let mut seen = Vec::new();
        for seq in 1..=12 {
            log.append(&[event(seq, &big)]).unwrap();
            seen.extend(follower.poll().unwrap().into_iter().map(|it| it.seq));
        }
        seen.extend(follower.poll().unwrap().into_iter().map(|it| it.seq));
        assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
        let mut late = Follower::after(dir.path(), 10);
        assert_eq!(late.poll().unwrap().iter().map(|it| it.seq).collect::<Vec<_>>(), [11]);
    }

    #[test]
    fn a_line_that_is_not_an_event_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        log.append(&[event(1, "a")]).unwrap();
        let (_, path) = segments(dir.path()).unwrap().pop().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"\xff\xfe garbage\n\n");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(all(dir.path()).unwrap().len(), 1);
    }
}
