//! The console's bytes on disk: a bounded ring of plain files that `cat` can read.
//!
//! A folder per console holds segments `000000000012-INCARNATION.log` with the raw bytes, and beside
//! each a `.times` file with lines `OFFSET UTC WORDS` (at most one a second for data, one for each note
//! such as a drop or a lost connection). The oldest segment goes when the cap is reached. A restart
//! begins a new segment and leaves the earlier ones: they say at which prompt the console stood, if
//! they are of the same incarnation of QEMU.
//!
//! Writing is done by a thread of its own behind a bounded queue: a disk that blocks costs bytes, which
//! are counted in a note, and never holds up the agent.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use jiff::Timestamp;

/// Where and how much.
#[derive(Debug, Clone)]
pub struct RingSettings {
    /// Folder of this console; made when missing, mode 0700.
    pub dir: PathBuf,
    /// Bytes kept in all, at least [`MIN_CAP`].
    pub cap: u64,
    /// Names this run of QEMU, such as `PID-STARTTIME`: letters, digits and `-` are kept.
    pub incarnation: String,
}

/// Smallest ring.
pub const MIN_CAP: u64 = 64 << 10;
/// Segments that share the cap.
const SEGMENTS: u64 = 8;
/// Chunks that may wait for the disk (each at most one read of the actor, 16 KiB).
const QUEUE: usize = 64;

enum Entry {
    Bytes(Vec<u8>),
    Note(String),
}

/// The writing end. Dropping it lets the thread finish what is queued.
#[derive(Debug)]
pub struct RingWriter {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    unreported: u64,
}

impl RingWriter {
    /// Opens (or makes) the ring and starts its thread.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(settings: &RingSettings) -> io::Result<Self> {
        let mut disk = Disk::open(settings)?;
        let (queue, entries) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        std::thread::Builder::new()
            .name("console-ring".to_owned())
            .spawn(move || {
                let mut failed = false;
                for entry in entries {
                    let done = match entry {
                        Entry::Bytes(bytes) => disk.bytes(&bytes),
                        Entry::Note(note) => disk.note(&note),
                    };
                    match done {
                        Ok(()) => failed = false,
                        Err(e) if !failed => {
                            failed = true;
                            tracing::warn!(dir = %disk.dir.display(), error = %e, "cannot write the console ring");
                        }
                        Err(_) => {}
                    }
                }
            })?;
        Ok(Self { queue, dropped, unreported: 0 })
    }

    /// Queues bytes; what does not fit is dropped and counted. Never blocks.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.unreported > 0 {
            let note = format!("{} bytes dropped: the disk did not keep up", self.unreported);
            if self.queue.try_send(Entry::Note(note)).is_ok() {
                self.unreported = 0;
            }
        }
        match self.queue.try_send(Entry::Bytes(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let count = bytes.len() as u64;
                self.unreported += count;
                self.dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Queues a note of ours. Never blocks.
    pub fn note(&self, note: &str) {
        // A note that does not fit is only a note.
        let _ = self.queue.try_send(Entry::Note(note.to_owned()));
    }

    /// Bytes that never reached the disk.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    number: u64,
    incarnation: String,
    path: PathBuf,
}

struct Disk {
    dir: PathBuf,
    segment_cap: u64,
    incarnation: String,
    segments: Vec<Segment>,
    log: File,
    times: File,
    length: u64,
    times_length: u64,
    last_time: i64,
}

impl Disk {
    fn open(settings: &RingSettings) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.dir)?;
        let segments = segments_of(&settings.dir)?;
        let number = segments.last().map_or(1, |s| s.number + 1);
        let incarnation = clean(&settings.incarnation);
        let (segment, log, times) = create(&settings.dir, number, &incarnation)?;
        let mut disk = Self {
            dir: settings.dir.clone(),
            segment_cap: settings.cap.max(MIN_CAP) / SEGMENTS,
            incarnation,
            segments,
            log,
            times,
            length: 0,
            times_length: 0,
            last_time: 0,
        };
        disk.segments.push(segment);
        disk.trim();
        Ok(disk)
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.length >= self.segment_cap || self.times_length >= self.segment_cap {
                self.roll()?;
            }
            let now = Timestamp::now().as_second();
            if now != self.last_time {
                self.last_time = now;
                self.note("data")?;
            }
            let room = usize::try_from(self.segment_cap - self.length).unwrap_or(usize::MAX);
            let part = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            self.log.write_all(part)?;
            self.length += part.len() as u64;
            bytes = bytes.get(part.len()..).unwrap_or_default();
        }
        Ok(())
    }

    fn note(&mut self, words: &str) -> io::Result<()> {
        let mut line = format!("{} {:.3} ", self.length, Timestamp::now());
        for part in words.chars().take(500) {
            let _ = write!(line, "{}", part.escape_default());
        }
        line.push('\n');
        self.times.write_all(line.as_bytes())?;
        self.times_length += line.len() as u64;
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let number = self.segments.last().map_or(1, |s| s.number + 1);
        let (segment, log, times) = create(&self.dir, number, &self.incarnation)?;
        self.segments.push(segment);
        (self.log, self.times) = (log, times);
        (self.length, self.times_length, self.last_time) = (0, 0, 0);
        self.trim();
        Ok(())
    }

    fn trim(&mut self) {
        let excess = self.segments.len().saturating_sub(usize::try_from(SEGMENTS).unwrap_or(8));
        for old in self.segments.drain(..excess) {
            for path in [old.path.with_extension("times"), old.path] {
                if let Err(e) = std::fs::remove_file(&path)
                    && e.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(path = %path.display(), error = %e, "cannot remove an old console segment");
                }
            }
        }
    }
}

fn create(dir: &Path, number: u64, incarnation: &str) -> io::Result<(Segment, File, File)> {
    let path = dir.join(format!("{number:012}-{incarnation}.log"));
    let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
    let log = open(&path)?;
    let times = open(&path.with_extension("times"))?;
    let segment = Segment { number, incarnation: incarnation.to_owned(), path };
    Ok((segment, log, times))
}

fn segments_of(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        let parsed = name
            .strip_suffix(".log")
            .and_then(|stem| stem.split_once('-'))
            .and_then(|(number, rest)| Some((number.parse().ok()?, rest.to_owned())));
        if let Some((number, incarnation)) = parsed {
            out.push(Segment { number, incarnation, path });
        }
    }
    out.sort();
    Ok(out)
}

fn clean(incarnation: &str) -> String {
    let kept: String =
        incarnation.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    if kept.is_empty() { "unknown".to_owned() } else { kept }
}

/// The last `max` bytes that the ring holds of this incarnation (of any, when `incarnation` is
/// `None`), oldest first.
///
/// # Errors
/// When the folder or a segment cannot be read; a missing folder gives no bytes.
pub fn read_back(dir: &Path, incarnation: Option<&str>, max: usize) -> io::Result<Vec<u8>> {
    let segments = match segments_of(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let wanted = incarnation.map(clean);
    let mut parts = Vec::new();
    let mut room = max;
    for segment in segments.iter().rev() {
        if room == 0 || wanted.as_ref().is_some_and(|w| *w != segment.incarnation) {
            break;
        }
        let part = tail_of_file(&segment.path, room)?;
        room -= part.len();
        parts.push(part);
    }
    parts.reverse();
    Ok(parts.concat())
}

/// The last `max` bytes of a file.
///
/// # Errors
/// When it cannot be read.
pub fn tail_of_file(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max as u64)))?;
    let mut out = Vec::new();
    file.take(max as u64).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path, incarnation: &str) -> RingSettings {
        RingSettings { dir: dir.to_owned(), cap: MIN_CAP, incarnation: incarnation.to_owned() }
    }

    #[test]
    fn a_flood_stays_within_the_cap_and_the_newest_bytes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(&settings(dir.path(), "7-1")).unwrap();
        for n in 0..100_000u32 {
            disk.bytes(format!("line {n}\n").as_bytes()).unwrap();
        }
        let on_disk: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= MIN_CAP + 4096, "{on_disk}");
        let back = read_back(dir.path(), None, 1000).unwrap();
        assert_eq!(back.len(), 1000);
        assert!(back.ends_with(b"line 99999\n"));
    }

    #[test]
    fn a_restart_keeps_the_bytes_and_another_incarnation_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["first\n", "second\n"] {
            let mut disk = Disk::open(&settings(dir.path(), "7-1")).unwrap();
            disk.bytes(text.as_bytes()).unwrap();
        }
        let same = read_back(dir.path(), Some("7-1"), 100).unwrap();
        assert_eq!(same, b"first\nsecond\n");
        assert_eq!(read_back(dir.path(), Some("8-2"), 100).unwrap(), b"");
        assert_eq!(read_back(&dir.path().join("none"), None, 9).unwrap(), b"");
    }

    #[test]
    fn a_queue_that_is_full_drops_counts_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, entries) = sync_channel(2);
        let mut writer = RingWriter { queue, dropped: Arc::default(), unreported: 0 };
        for _ in 0..5 {
            writer.push(b"abc");
        }
        assert_eq!(writer.dropped().load(Ordering::Relaxed), 9);
        let mut disk = Disk::open(&settings(dir.path(), "x")).unwrap();
        drop(entries.recv().unwrap());
        writer.push(b"d");
        for entry in [entries.recv().unwrap(), entries.recv().unwrap()] {
            if let Entry::Note(note) = entry {
                assert_eq!(note, "9 bytes dropped: the disk did not keep up");
                disk.note(&note).unwrap();
                return;
            }
        }
        panic!("no note of the drop");
    }
}
