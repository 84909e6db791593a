//! The folder of the event store: segments named by their first number, rotated and bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vmward_model::Event;

use crate::agent::{clock, durable};

/// A segment is closed when it is this long.
const SEGMENT_BYTES: u64 = 4 << 20;
/// At most this many segments are kept; the oldest goes.
const SEGMENTS: usize = 16;
/// After the host went down under us, lines that were read may be lost: numbers go on this much
/// later, which readers see as events that are missing.
const GAP: u64 = 4096;
/// An event longer than this is not one of ours.
pub(super) const MAX_LINE: usize = 1 << 20;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("cannot {doing} at {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// An event has no JSON form.
    #[error("cannot write an event as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |source| LogError::Io { doing, path: path.to_owned(), source }
}

/// The writer's side. One a folder: the folder is locked (flock(2)) while it lives.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: File,
    length: u64,
    next: u64,
    _lock: nix::fcntl::Flock<File>,
}

impl Log {
    /// Opens the folder: cuts off a torn last line and finds the next number.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written, or another agent has it.
    pub fn open(folder: &Path) -> Result<Log, LogError> {
        Log::open_after(folder, 0)
    }

    /// The same; no event gets a number up to `used`, whatever is in the folder.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written, or another agent has it.
    pub fn open_after(folder: &Path, used: u64) -> Result<Log, LogError> {
        let fresh = used.saturating_add(1);
        durable::folder(folder).map_err(io_error("make the event folder", folder))?;
        let lock = lock(folder)?;
        let segments = segments(folder).map_err(io_error("list the event folder", folder))?;
        let (path, mut next) = match segments.last() {
            Some((first, path)) => (path.clone(), *first),
            None => (segment(folder, fresh), fresh),
        };
        let (file, length, last) = open_segment(&path)?;
        if let Some(last) = last {
            next = last.saturating_add(1);
        }
        next = next.max(fresh);
        let mark = folder.join("open");
        let boot = clock::boot_id();
        match std::fs::read_to_string(&mark) {
            // The host went down while we wrote: see GAP.
            Ok(before) if before != boot => next = next.saturating_add(GAP),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read the mark", &mark)(error)),
        }
        durable::write(&mark, boot.as_bytes()).map_err(io_error("write the mark", &mark))?;
        Ok(Log { folder: folder.to_owned(), file, length, next, _lock: lock })
    }

    /// The number of the next event.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Writes the events and waits until they are on disk.
    ///
    /// # Errors
    /// When the disk refuses; the segment is then cut back to what was whole before.
    pub fn append(&mut self, events: &[Event]) -> Result<(), LogError> {
        let mut rest = events;
        while let Some(first) = rest.first() {
            if self.length >= SEGMENT_BYTES {
                self.rotate(first.seq)?;
            }
            // What is read back at the start is bounded: no batch makes a segment longer by more than a line.
            let (mut bytes, mut taken) = (Vec::new(), 0usize);
            for event in rest {
                if self.length.saturating_add(bytes.len() as u64) >= SEGMENT_BYTES {
                    break;
                }
                serde_json::to_writer(&mut bytes, event)?;
                bytes.push(b'\n');
                taken = taken.saturating_add(1);
            }
            let (written, later) = rest.split_at(taken);
            self.write(&bytes)?;
            self.next = written.last().map_or(self.next, |it| it.seq.saturating_add(1));
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // A half-written line must not swallow the next one.
            let back = self.file.set_len(self.length);
            let back = back.and_then(|()| self.file.seek(SeekFrom::Start(self.length)).map(drop));
            if let Err(error) = back {
                tracing::error!("cannot cut back the event log: {error}");
            }
            return Err(io_error("append events", &self.folder)(source));
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Ends in an orderly way: nothing can be lost from here on.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn close(self) -> Result<(), LogError> {
        let mark = self.folder.join("open");
        std::fs::remove_file(&mark).map_err(io_error("remove the mark", &mark))?;
        durable::sync_folder_of(&mark).map_err(io_error("sync the event folder", &self.folder))
    }

    fn rotate(&mut self, first: u64) -> Result<(), LogError> {
        let path = segment(&self.folder, first);
        let (file, length, _) = open_segment(&path)?;
        self.file = file;
        self.length = length;
        let mut old = segments(&self.folder).map_err(io_error("list the event folder", &self.folder))?;
        while old.len() > SEGMENTS {
            let (_, path) = old.remove(0);
            std::fs::remove_file(&path).map_err(io_error("remove an old segment", &path))?;
        }
        Ok(())
    }
}

fn lock(folder: &Path) -> Result<nix::fcntl::Flock<File>, LogError> {
    let path = folder.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(io_error("open the lock", &path))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| io_error("lock (is another agent running?)", &path)(errno.into()))
}

fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("events-{first:020}.jsonl"))
}

/// The segments of a folder with their first numbers, oldest first.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str());
        let digits = name.and_then(|it| it.strip_prefix("events-")?.strip_suffix(".jsonl"));
        if let Some(first) = digits.and_then(|it| it.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens a segment for appending, cuts off a torn last line, gives its length and last number.
fn open_segment(path: &Path) -> Result<(File, u64, Option<u64>), LogError> {
    let fresh = !path.exists();
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = open.map_err(io_error("open a segment", path))?;
    if fresh {
        durable::sync_folder_of(path).map_err(io_error("sync the event folder", path))?;
    }
    let mut bytes = Vec::new();
    let cap = SEGMENT_BYTES.saturating_mul(2).saturating_add(MAX_LINE as u64);
    (&file).take(cap).read_to_end(&mut bytes).map_err(io_error("read a segment", path))?;
    let whole = bytes.iter().rposition(|it| *it == b'\n').map_or(0, |at| at.saturating_add(1));
    if whole < bytes.len() {
        tracing::warn!("cut {} bytes of a torn line off {}", bytes.len() - whole, path.display());
        file.set_len(whole as u64).map_err(io_error("cut a torn line", path))?;
        bytes.truncate(whole);
    }
    file.seek(SeekFrom::Start(whole as u64)).map_err(io_error("seek in a segment", path))?;
    let last = bytes.split(|it| *it == b'\n').filter_map(super::read::line).map(|it| it.seq).max();
    Ok((file, whole as u64, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_model::{EventKind, FORMAT, Severity};

    fn event(seq: u64, text: &str) -> Event {
        let kind = EventKind::Note { text: text.into() };
        let at = clock::now();
        let (guest, name, incarnation) = (None, None, None);
        Event { format: FORMAT, seq, at, severity: Severity::Info, guest, name, incarnation, kind }
    }

    #[test]
    fn a_torn_last_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        log.append(&[event(1, "a"), event(2, "b")]).unwrap();
        drop(log);
        let path = segment(dir.path(), 1);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 1..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut log = Log::open(dir.path()).unwrap();
            let whole = bytes[..cut].iter().filter(|it| **it == b'\n').count() as u64;
            assert_eq!(log.next_seq(), whole + 1, "cut at {cut}");
            log.append(&[event(log.next_seq(), "later")]).unwrap();
            assert_eq!(super::super::read::all(dir.path()).unwrap().len() as u64, whole + 1);
        }
    }

    #[test]
    fn a_host_that_went_down_leaves_a_gap_and_an_orderly_end_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        log.append(&[event(1, "a")]).unwrap();
        drop(log);
        std::fs::write(dir.path().join("open"), "another boot").unwrap();
        let log = Log::open(dir.path()).unwrap();
        assert_eq!(log.next_seq(), 2 + GAP);
        log.close().unwrap();
        assert_eq!(Log::open(dir.path()).unwrap().next_seq(), 2);
    }

    #[test]
    fn only_one_agent_writes_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Log::open(dir.path()).unwrap();
        assert!(Log::open(dir.path()).unwrap_err().to_string().contains("another agent"));
    }

    #[test]
    fn the_folder_is_bounded_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        let big = "x".repeat(SEGMENT_BYTES as usize / 2);
        for seq in 1..=(SEGMENTS as u64 * 2 + 10) {
            log.append(&[event(seq, &big)]).unwrap();
        }
        assert_eq!(segments(dir.path()).unwrap().len(), SEGMENTS);
        drop(log);
        assert_eq!(Log::open(dir.path()).unwrap().next_seq(), SEGMENTS as u64 * 2 + 11);
    }

    #[test]
    fn one_batch_larger_than_a_segment_is_kept_whole_over_several() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path()).unwrap();
        let big = "x".repeat(SEGMENT_BYTES as usize / 5);
        let batch: Vec<Event> = (1..=20).map(|seq| event(seq, &big)).collect();
        log.append(&batch).unwrap();
        assert!(segments(dir.path()).unwrap().len() >= 4);
        drop(log);
        assert_eq!(Log::open(dir.path()).unwrap().next_seq(), 21);
        assert_eq!(super::super::read::all(dir.path()).unwrap().len(), 20);
    }
}
