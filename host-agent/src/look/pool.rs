//! The children that look: at most eight at once, each for one look, one started beforehand.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use vmward_kernel_facts::{Examination, Samples};
use vmward_kernel_lens::cache::Cache;

use super::child::{ASKS, MAX_REGISTERS, OWN_FILES, Wrote};
use super::order::{Learned, Order};
use super::sandbox::MAX_RESULT;
use super::source::chain;
use crate::descriptor::{self, MAX_AT_ONCE};

/// Looks at once.
const AT_ONCE: usize = 8;
/// Bytes of a child's last words.
const MAX_WORDS: u64 = 4 << 10;

/// Why a look gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Eight looks are under way and none ended in time.
    #[error("{AT_ONCE} looks at other guests were under way for {0:.1?}")]
    Busy(Duration),
    /// A child could not be started or given its order.
    #[error("cannot start a look")]
    Start(#[source] io::Error),
    /// It was not over in time and was killed.
    #[error("the look was not over within {0:.1?} and was ended")]
    Overtime(Duration),
    /// The child ended without a result.
    #[error("the look ended without a result ({how}): {words}")]
    Ended {
        /// How it ended.
        how: ExitStatus,
        /// Its last words.
        words: String,
    },
    /// The child's result cannot be read.
    #[error("the look's result makes no sense")]
    Garbage(#[source] io::Error),
    /// It looked and could not tell.
    #[error("{0}")]
    Not(String),
}

/// What a look gave.
#[derive(Debug)]
pub struct Looked {
    /// What it told.
    pub examination: Box<Examination>,
    /// The minicore, where one was ordered.
    pub minicore: Option<Vec<u8>>,
    /// Why there is none, where one was ordered.
    pub no_minicore: Option<String>,
}

/// Starts children and waits for them. Clones share the places.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    keeps_spare: bool,
    cache: Mutex<Cache>,
    places: Semaphore,
    spare: Mutex<Option<Waiting>>,
}

/// A child that has shut itself in and waits for its order.
#[derive(Debug)]
struct Waiting {
    child: Child,
    socket: UnixStream,
}

impl Default for Pool {
    /// Children of this very program, even when its file was replaced since.
    fn default() -> Self {
        Self::of("/proc/self/exe")
    }
}

impl Pool {
    /// Children that run `program`, a `vmward`.
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self::new(program.into(), false, Cache::none())
    }

    /// The same, and a child is kept ready from the first look on: for one that lives long.
    #[must_use]
    pub fn with_spare(self) -> Self {
        let cache = std::mem::take(&mut *self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner));
        Self::new(self.shared.program.clone(), true, cache)
    }

    /// The same, and what looks learn of kernels is kept in a folder, so that the next look at one of them
    /// need not search.
    #[must_use]
    pub fn with_cache(self, folder: &Path) -> Self {
        let (cache, problems) = Cache::load(folder);
        for problem in problems {
            tracing::warn!("what is known of kernels: {}", chain(&problem));
        }
        Self::new(self.shared.program.clone(), self.shared.keeps_spare, cache)
    }

    fn new(program: PathBuf, keeps_spare: bool, cache: Cache) -> Self {
        let (places, spare, cache) = (Semaphore::new(AT_ONCE), Mutex::default(), Mutex::new(cache));
        Self { shared: Arc::new(Shared { program, keeps_spare, cache, places, spare }) }
    }

    /// Has a child look, for at most `within`. The child is gone when this returns, or is dropped.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(&self, order: Order, within: Duration) -> Result<Looked, LookError> {
        let none = async |_| Ok(());
        match self.run(order, within, none).await? {
            (Wrote::Found { examination, learned, no_minicore }, minicore) => {
                self.learn(learned).await;
                Ok(Looked { examination, minicore, no_minicore })
            }
            (Wrote::Not(why), _) => Err(LookError::Not(why)),
            (Wrote::Sampled { .. }, _) => Err(LookError::Garbage(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Has a child take a picture of the running CPUs over `moments` moments. `registers` is asked for the
    /// registers of each, as text; where it has none the picture ends.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn over_time(
        &self,
        mut order: Order,
        moments: u32,
        within: Duration,
        mut registers: impl AsyncFnMut() -> Option<String>,
    ) -> Result<Samples, LookError> {
        order.request.moments = Some(moments);
        let answer = async |socket: UnixStream| {
            socket.set_nonblocking(true)?;
            let mut socket = tokio::net::UnixStream::from_std(socket)?;
            let mut byte = [0];
            while socket.read(&mut byte).await? == 1 && byte == [ASKS] {
                let text = registers().await.unwrap_or_default();
                let text = text.as_bytes().get(..MAX_REGISTERS).unwrap_or(text.as_bytes());
                let length = u32::try_from(text.len()).unwrap_or(0);
                socket.write_all(&length.to_le_bytes()).await?;
                socket.write_all(text).await?;
            }
            Ok(())
        };
        match self.run(order, within, answer).await? {
            (Wrote::Sampled { samples, learned }, _) => {
                self.learn(learned).await;
                Ok(samples)
            }
            (Wrote::Not(why), _) => Err(LookError::Not(why)),
            (Wrote::Found { .. }, _) => Err(LookError::Garbage(io::ErrorKind::InvalidData.into())),
        }
    }

    async fn run(
        &self,
        mut order: Order,
        within: Duration,
        talk: impl AsyncFnOnce(UnixStream) -> io::Result<()>,
    ) -> Result<(Wrote, Option<Vec<u8>>), LookError> {
        let until = Instant::now() + within;
        let place = timeout_at(until, self.shared.places.acquire()).await;
        // The places are never closed.
        let _place = place.map_err(|_| LookError::Busy(within))?.map_err(|_| LookError::Busy(within))?;
        order.request.known = {
            let cache = self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.entries().iter().map(Learned::of).collect()
        };
        let files = Files::new(&order).map_err(LookError::Start)?;
        let Waiting { mut child, socket } = self.start(&order, &files).map_err(LookError::Start)?;
        drop(order);
        let mut words = child.stderr.take();
        let ended = timeout_at(until, async {
            // A child that ends in the middle of a talk says why by its end.
            let talked = talk(socket).await;
            (child.wait().await, talked)
        });
        let how = match ended.await {
            Ok((how, _)) => how.map_err(LookError::Start)?,
            Err(_) => {
                child.kill().await.map_err(LookError::Start)?;
                return Err(LookError::Overtime(within));
            }
        };
        if self.shared.keeps_spare {
            self.prepare();
        }
        if !how.success() {
            let mut said = Vec::new();
            if let Some(pipe) = words.as_mut() {
                // Whatever it said is in the pipe already: it has ended.
                drop(timeout_at(until, pipe.take(MAX_WORDS).read_to_end(&mut said)).await);
            }
            let words = String::from_utf8_lossy(&said).trim().escape_debug().to_string();
            let words = if how.signal() == Some(nix::libc::SIGSYS) {
                format!("it tried what it may not. {words}")
            } else {
                words
            };
            return Err(LookError::Ended { how, words });
        }
        let read = tokio::task::spawn_blocking(move || files.read());
        let read = read.await.map_err(|it| LookError::Garbage(io::Error::other(it)))?;
        read.map_err(LookError::Garbage)
    }

    /// Keeps what a look learned. The child may have been taken over: the entry is one of places, and each is
    /// tested before it is used.
    async fn learn(&self, learned: Option<Learned>) {
        let Some(entry) = learned.and_then(|it| it.entry()) else { return };
        let shared = Arc::clone(&self.shared);
        let kept = tokio::task::spawn_blocking(move || {
            shared.cache.lock().unwrap_or_else(PoisonError::into_inner).keep(entry)
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("what a look learned is not kept: {}", chain(&error)),
            Err(error) => tracing::warn!("what a look learned is not kept: {error}"),
        }
    }

    /// Starts the child that the next look will take.
    fn prepare(&self) {
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            match self.child() {
                Ok(child) => *spare = Some(child),
                Err(error) => tracing::warn!("cannot start a child for the next look: {error}"),
            }
        }
    }

    fn start(&self, order: &Order, files: &Files) -> io::Result<Waiting> {
        let spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut waiting) = spare
            && matches!(waiting.child.try_wait(), Ok(None))
            && send(&waiting, order, files).is_ok()
        {
            return Ok(waiting);
        }
        let waiting = self.child()?;
        send(&waiting, order, files)?;
        Ok(waiting)
    }

    /// To be called on a thread that lives as long as the runtime, as its workers do: the child dies with the
    /// thread that started it (prctl(2), `PR_SET_PDEATHSIG`), which one of `spawn_blocking` soon does.
    fn child(&self) -> io::Result<Waiting> {
        let (socket, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.shared.program)
            .arg("look")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Waiting { child, socket })
    }
}

fn send(to: &Waiting, order: &Order, files: &Files) -> io::Result<()> {
    let mut all = vec![files.order.as_fd(), files.result.as_fd(), files.minicore.as_fd()];
    all.extend(order.files.iter().map(AsFd::as_fd));
    descriptor::send(&to.socket, b"!", &all)
}

/// Files in memory that go with an order.
struct Files {
    order: File,
    result: File,
    minicore: File,
    wants_minicore: bool,
}

impl Files {
    fn new(order: &Order) -> io::Result<Self> {
        if order.files.len() + OWN_FILES > MAX_AT_ONCE {
            return Err(io::Error::other(format!("the guest's memory is in {} files", order.files.len())));
        }
        let make = |name: &str| Ok::<_, io::Error>(File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?));
        let mut text = make("vmward-order")?;
        text.write_all(&serde_json::to_vec(&order.request)?)?;
        Ok(Self {
            order: text,
            result: make("vmward-result")?,
            minicore: make("vmward-minicore")?,
            wants_minicore: order.request.minicore.is_some(),
        })
    }

    fn read(self) -> io::Result<(Wrote, Option<Vec<u8>>)> {
        let whole = |mut file: File| {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.take(MAX_RESULT).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let result = serde_json::from_slice(&whole(self.result)?)?;
        let minicore = if self.wants_minicore { Some(whole(self.minicore)?) } else { None };
        Ok((result, minicore.filter(|it| !it.is_empty())))
    }
}
