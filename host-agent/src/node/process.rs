//! One QEMU process as the captures look at it: every question has a deadline, and what the agent may
//! not read itself it asks the opener for.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::fds::{self, Fd};
use super::read::{self, ReadError, Reader};
use super::stat;
use super::threads::{self, Thread};
use crate::opener::{Client, Request, TaskFile, Want};

/// Why something about the process is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The read hangs.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel refused.
    #[error("cannot read {what} of process {pid}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// Process id.
        pid: u32,
        /// The cause.
        source: io::Error,
    },
}

/// Where a thread is in the host's kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Thread id.
    pub tid: u32,
    /// Function it sleeps in.
    pub wchan: Option<String>,
    /// Kernel stack, innermost first.
    pub stack: Vec<String>,
}

/// A QEMU process.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    start_ticks: u64,
    reader: Reader,
    opener: Option<Client>,
}

impl Process {
    /// The process `pid` that started at `start_ticks` (field 22 of its `stat`).
    pub fn new(pid: u32, start_ticks: u64, reader: Reader, opener: Option<Client>) -> Process {
        Process { pid, start_ticks, reader, opener }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn proc(&self) -> String {
        format!("/proc/{}", self.pid)
    }

    /// State letter of the process, `None` when it is gone (exited, or the pid is another process's).
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn state(&self, within: Duration) -> Result<Option<char>, ProcessError> {
        let path = format!("{}/stat", self.proc());
        let line = self.reader.run(path.clone(), within, move || read::file(path, 4096)).await?;
        match line {
            Ok(line) => Ok(stat::parse(&line)
                .filter(|it| it.start_ticks == self.start_ticks && !"ZXx".contains(it.state))
                .map(|it| it.state)),
            Err(e) if is_gone(&e) => Ok(None),
            Err(source) => Err(self.failed("the state", source)),
        }
    }

    /// All threads.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn threads(&self, within: Duration) -> Result<Vec<Thread>, ProcessError> {
        let proc = self.proc();
        let list = self.reader.run(format!("{proc}/task"), within, move || threads::list(&proc)).await?;
        list.map_err(|source| self.failed("the threads", source))
    }

    /// State letters of some threads; a thread that is gone is left out.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn thread_states(
        &self,
        tids: &[u32],
        within: Duration,
    ) -> Result<Vec<(u32, char)>, ProcessError> {
        let (proc, tids) = (self.proc(), tids.to_vec());
        let work =
            move || tids.iter().filter_map(|tid| Some((*tid, threads::state(&proc, *tid).ok()?))).collect();
        Ok(self.reader.run(format!("/proc/{}/task", self.pid), within, work).await?)
    }

    /// Where the threads are in the host's kernel, and what could not be read.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn places(
        &self,
        tids: &[u32],
        within: Duration,
    ) -> Result<(Vec<Place>, Vec<String>), ProcessError> {
        let (this, tids) = (self.clone(), tids.to_vec());
        let stop_at = Instant::now() + within.mul_f32(0.8);
        let what = format!("the kernel stacks of process {}", self.pid);
        Ok(self.reader.run(what, within, move || this.places_now(&tids, stop_at)).await?)
    }

    fn places_now(&self, tids: &[u32], stop_at: Instant) -> (Vec<Place>, Vec<String>) {
        let proc = self.proc();
        let mut places = Vec::with_capacity(tids.len());
        let mut problems = Vec::new();
        // Asked once: what is refused for one thread is refused for all.
        let mut opener = self.opener.as_ref();
        for tid in tids.iter().copied() {
            if Instant::now() > stop_at {
                problems.push("no time was left for the kernel stacks of further threads".to_owned());
                break;
            }
            let mut place = Place { tid, wchan: threads::wchan(&proc, tid), stack: Vec::new() };
            match threads::stack(&proc, tid) {
                Ok(stack) => place.stack = stack,
                Err(e) if is_gone(&e) => continue,
                Err(e) => {
                    let by_opener = opener.map(|it| self.place_by_opener(it, &mut place));
                    match by_opener {
                        Some(Ok(())) => {}
                        Some(Err(why)) => {
                            opener = None;
                            problems.push(format!("kernel stacks: {why}"));
                        }
                        None if problems.is_empty() => {
                            problems
                                .push(format!("kernel stacks: {e}; they need CAP_SYS_ADMIN, or the opener"));
                        }
                        None => {}
                    }
                }
            }
            places.push(place);
        }
        (places, problems)
    }

    fn place_by_opener(&self, opener: &Client, place: &mut Place) -> Result<(), String> {
        let read = |file| {
            let request = self.request(Want::Task { tid: place.tid, file });
            let bytes =
                opener.read(&request, Duration::from_millis(500), 16 << 10).map_err(|e| e.to_string())?;
            Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stack, wchan) = (read(TaskFile::Stack)?, read(TaskFile::Wchan)?);
        place.stack = threads::clean_stack(&stack);
        place.wchan = threads::clean_wchan(&wchan);
        Ok(())
    }

    /// Open files.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn fds(&self, within: Duration) -> Result<Vec<Fd>, ProcessError> {
        let this = self.clone();
        let list =
            self.reader.run(format!("/proc/{}/fd", self.pid), within, move || this.fds_now(within)).await?;
        list.map_err(|source| self.failed("the open files", source))
    }

    fn fds_now(&self, within: Duration) -> io::Result<Vec<Fd>> {
        match (fds::list(&self.proc()), &self.opener) {
            (Err(e), Some(opener)) if e.kind() == io::ErrorKind::PermissionDenied => {
                let bytes =
                    opener.read(&self.request(Want::Fds), within / 2, 4 << 20).map_err(io::Error::other)?;
                serde_json::from_slice(&bytes).map_err(io::Error::other)
            }
            (list, _) => list,
        }
    }

    /// A file of the process's proc folder, at most `cap` bytes.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn file(
        &self,
        name: &'static str,
        cap: usize,
        within: Duration,
    ) -> Result<Vec<u8>, ProcessError> {
        let path = format!("{}/{name}", self.proc());
        let bytes = self.reader.run(path.clone(), within, move || read::file(path, cap)).await?;
        bytes.map_err(|source| self.failed(name, source))
    }

    /// A file of the process's proc folder (`mem`, `pagemap`) opened read-only, by ourselves or by the
    /// opener. To be called where it may block: in [`Process::run`].
    ///
    /// # Errors
    /// Those of the host, or the opener's refusal.
    pub fn open_now(&self, want: Want, within: Duration) -> io::Result<OwnedFd> {
        let name = match want {
            Want::Mem => "mem".to_owned(),
            Want::Pagemap => "pagemap".to_owned(),
            Want::Maps => "maps".to_owned(),
            Want::Memfd { fd } => format!("fd/{fd}"),
            Want::Task { .. } | Want::Fds => return Err(io::ErrorKind::InvalidInput.into()),
        };
        match (std::fs::File::open(format!("{}/{name}", self.proc())), &self.opener) {
            (Err(e), Some(opener)) if e.kind() == io::ErrorKind::PermissionDenied => {
                opener.open(&self.request(want), within / 2).map_err(io::Error::other)
            }
            (file, _) => Ok(file?.into()),
        }
    }

    /// The open files, as [`Process::fds`] but here and now.
    ///
    /// # Errors
    /// Those of the host, or the opener's refusal.
    pub fn fds_here(&self, within: Duration) -> io::Result<Vec<Fd>> {
        self.fds_now(within)
    }

    /// Runs other blocking reads about this guest, under the same limit of threads.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.reader.run(what, within, work).await
    }

    /// The opener, where there is one.
    pub fn opener(&self) -> Option<&Client> {
        self.opener.as_ref()
    }

    fn request(&self, file: Want) -> Request {
        Request { pid: self.pid, start_ticks: self.start_ticks, file }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Io { what, pid: self.pid, source }
    }
}

/// Whether an error says that the process or thread has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn ourselves() -> Process {
        let line = std::fs::read("/proc/self/stat").unwrap();
        let start = stat::parse(&line).unwrap().start_ticks;
        Process::new(std::process::id(), start, Reader::default(), None)
    }

    #[tokio::test]
    async fn a_living_process_has_a_state_and_another_one_with_its_pid_has_not() {
        let us = ourselves();
        assert!(us.state(SOON).await.unwrap().is_some());
        let other = Process::new(us.pid(), 1, Reader::default(), None);
        assert_eq!(other.state(SOON).await.unwrap(), None);
    }

    #[tokio::test]
    async fn threads_are_found_with_the_place_where_they_sleep() {
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let sleeper =
            std::thread::Builder::new().name("it sleeps".into()).spawn(move || gate.recv()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let us = ourselves();
        let threads = us.threads(SOON).await.unwrap();
        let found = threads.iter().find(|it| it.comm == "it sleeps").unwrap();
        assert_eq!(found.state, 'S');
        let (places, problems) = us.places(&[found.tid], SOON).await.unwrap();
        // Kernel stacks need CAP_SYS_ADMIN; then and only then is there nothing to complain of.
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].stack.is_empty(), !problems.is_empty(), "{places:?} {problems:?}");
        drop(release);
        assert!(sleeper.join().unwrap().is_err());
    }
}
