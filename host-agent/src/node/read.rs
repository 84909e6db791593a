//! Blocking reads with a deadline, each in a thread that is left behind when it does not come back.
//!
//! A thread that sits in the host's kernel cannot be ended. It is counted as lost until it returns, and
//! when a guest has lost [`Reader`]'s limit of them, further reads about it are refused at once instead
//! of filling the host with threads. A reader belongs to one guest, so that a guest whose `/proc`
//! blocks takes nothing from another.

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many threads one guest may have in reads at once.
pub const THREADS_PER_GUEST: usize = 8;

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It did not return in time; its thread is left behind.
    #[error("{what} did not return within {waited:?}; the host's kernel holds the reading thread")]
    TimedOut {
        /// What was read.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// So many reads about this guest hang that no more are begun.
    #[error("{what} was not read: {lost} earlier reads about this guest have not returned")]
    TooManyLost {
        /// What was to be read.
        what: String,
        /// Threads that have not returned.
        lost: usize,
    },
    /// No thread could be started.
    #[error("cannot start a thread to read {what}")]
    NoThread {
        /// What was to be read.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The reading code panicked.
    #[error("reading {what} ended in a panic, which is a bug")]
    Panicked {
        /// What was read.
        what: String,
    },
}

/// Starts blocking reads about one guest. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Reader {
    out: Arc<AtomicUsize>,
    limit: usize,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new(THREADS_PER_GUEST)
    }
}

/// Gives the place back when the thread ends, whatever way.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reader {
    /// A reader that has at most `limit` threads out at once.
    pub fn new(limit: usize) -> Reader {
        Reader { out: Arc::default(), limit }
    }

    /// Threads that have not returned.
    pub fn out(&self) -> usize {
        self.out.load(Ordering::Acquire)
    }

    /// Runs `work` in a thread of its own and waits at most `within` for it.
    ///
    /// # Errors
    /// [`ReadError`]; what `work` itself says of its errors is inside `T`.
    pub async fn run<T: Send + 'static>(
        &self,
        what: impl Into<String>,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let what = what.into();
        let lost = self.out.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.out));
        if lost >= self.limit {
            return Err(ReadError::TooManyLost { what, lost });
        }
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("vmward-read".into()).stack_size(256 << 10);
        thread
            .spawn(move || {
                let _place = place;
                // Nobody waits any more: nothing to tell.
                let _ = done.send(work());
            })
            .map_err(|source| ReadError::NoThread { what: what.clone(), source })?;
        match timeout(within, result).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(ReadError::Panicked { what }),
            Err(_) => Err(ReadError::TimedOut { what, waited: within }),
        }
    }
}

/// At most `cap` bytes of the file at `path`. Blocking. Does not wait for a writer when `path` is a FIFO.
///
/// # Errors
/// As `open(2)` and `read(2)`.
pub fn file(path: impl AsRef<Path>, cap: usize) -> io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(cap).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As [`file`], as text: bytes that are no UTF-8 are replaced, white space at the end is cut.
///
/// # Errors
/// As [`file`].
pub fn text(path: impl AsRef<Path>, cap: usize) -> io::Result<String> {
    let bytes = file(path, cap)?;
    Ok(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    #[tokio::test]
    async fn a_read_that_hangs_is_left_behind_and_the_next_ones_are_refused_at_the_limit() {
        let reader = Reader::new(2);
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let began = Instant::now();
        for _ in 0..2 {
            let gate = Arc::clone(&gate);
            let lost = reader
                .run("a stuck file", Duration::from_millis(50), move || gate.lock().unwrap().recv())
                .await;
            assert!(matches!(lost, Err(ReadError::TimedOut { .. })), "{lost:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(2));
        let refused = reader.run("a third", Duration::from_secs(5), || 1).await;
        assert!(matches!(refused, Err(ReadError::TooManyLost { lost: 2, .. })), "{refused:?}");

        drop(release);
        for _ in 0..200 {
            if reader.out() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(reader.run("a fourth", Duration::from_secs(5), || 4).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_panic_while_reading_is_told_as_such_and_gives_its_place_back() {
        let reader = Reader::new(1);
        let told = reader.run("x", Duration::from_secs(5), || panic!("boom")).await;
        assert!(matches!(told, Err::<(), _>(ReadError::Panicked { .. })));
        for _ in 0..200 {
            if reader.out() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(reader.out(), 0);
    }

    #[test]
    fn a_file_is_read_up_to_the_cap_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abcdef").unwrap();
        assert_eq!(file(&path, 3).unwrap(), b"abc");
        assert!(!text("/proc/self/comm", 100).unwrap().contains('\n'));
    }
}
