//! The figures of every round, as JSON lines in a bounded file: what `bench isolation` reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use vmward_model::GuestId;

use super::clock;

/// The file is renamed to `.old` when it is this long.
const BYTES: u64 = 16 << 20;
/// So many figures may wait for the disk; further ones are dropped and that is logged.
const WAITING: usize = 4096;

/// The figures of one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundFigures {
    /// Whose.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// Which scenario.
    pub scenario: String,
    /// When it was to begin, in microseconds of the host's `CLOCK_BOOTTIME`.
    pub scheduled_us: u64,
    /// How much later it began, in microseconds.
    pub late_us: u64,
    /// How long it took from its beginning to its answer, in microseconds.
    pub took_us: u64,
    /// Rounds of this scenario that were missed since the last one.
    pub missed: u64,
    /// `pass`, `fail` or `unknown`.
    pub answer: String,
}

/// Where figures go. Cloning is cheap; writing never blocks.
#[derive(Clone, Debug)]
pub struct Rounds {
    send: Option<SyncSender<RoundFigures>>,
}

impl Rounds {
    /// Figures that nobody wants.
    pub fn nowhere() -> Rounds {
        Rounds { send: None }
    }

    /// Into the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened or the writer thread not be started.
    pub fn open(path: &Path) -> io::Result<Rounds> {
        let mut out = Out::open(path)?;
        let (send, receive) = sync_channel::<RoundFigures>(WAITING);
        std::thread::Builder::new().name("rounds".into()).spawn(move || {
            while let Ok(first) = receive.recv() {
                let batch = std::iter::once(first).chain(receive.try_iter());
                if let Err(error) = out.write(batch) {
                    tracing::warn!("cannot write the figures of rounds: {error}");
                }
            }
        })?;
        Ok(Rounds { send: Some(send) })
    }

    /// Keeps the figures of a round.
    pub fn put(&self, figures: RoundFigures) {
        let Some(send) = &self.send else { return };
        if let Err(TrySendError::Full(_)) = send.try_send(figures) {
            tracing::warn!("the disk is slow: figures of a round were dropped");
        }
    }
}

/// `at` in microseconds of `CLOCK_BOOTTIME`.
pub fn boottime_us(at: Instant) -> u64 {
    let ago = Instant::now().saturating_duration_since(at);
    let now = clock::now().mono_ms.saturating_mul(1000);
    now.saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX))
}

struct Out {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Out {
    fn open(path: &Path) -> io::Result<Out> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Out { path: path.to_owned(), file, length })
    }

    fn write(&mut self, batch: impl Iterator<Item = RoundFigures>) -> io::Result<()> {
        if self.length >= BYTES {
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
            *self = Out::open(&self.path)?;
        }
        let mut bytes = Vec::new();
        for figures in batch {
            serde_json::to_writer(&mut bytes, &figures)?;
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes)?;
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_lines_and_the_file_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rounds.jsonl");
        let figures = RoundFigures {
            guest: GuestId::from_name_and_disks("a", &[]),
            name: "a".into(),
            scenario: "app-label".into(),
            scheduled_us: 1,
            late_us: 2,
            took_us: 3,
            missed: 0,
            answer: "pass".into(),
        };
        let mut out = Out::open(&path).unwrap();
        out.write([figures.clone()].into_iter()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<RoundFigures>(text.trim()).unwrap(), figures);
        out.length = BYTES;
        out.write([figures].into_iter()).unwrap();
        assert_eq!(std::fs::read_to_string(path.with_extension("old")).unwrap(), text);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
