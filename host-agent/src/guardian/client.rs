//! The agent's end: starts a guardian and talks to it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::protocol::{MAX_LINE, Reply, Request};

/// How a guardian is started.
#[derive(Debug, Clone)]
pub struct GuardianCommand {
    /// The program.
    pub program: PathBuf,
    /// Words before the guardian's own: the name of the hidden subcommand.
    pub args: Vec<OsString>,
}

impl Default for GuardianCommand {
    /// This very binary, even when its file was replaced since.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec!["guardian".into()] }
    }
}

/// Why the guardian could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GuardianError {
    /// It could not be started.
    #[error("cannot start the guardian process")]
    Start(#[source] std::io::Error),
    /// It ended or closed its socket.
    #[error("the guardian process ended")]
    Gone,
    /// It did not answer in time.
    #[error("the guardian did not answer within {0:?}")]
    Timeout(Duration),
}

/// A running guardian.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Guardian {
    /// Starts a guardian for the QMP socket `qmp`, and waits until it holds it or says why not.
    ///
    /// # Errors
    /// [`GuardianError`].
    pub async fn start(
        command: &GuardianCommand,
        qmp: &Path,
        pid: Option<u32>,
        run_dir: &Path,
        budget: Duration,
    ) -> Result<(Self, Reply), GuardianError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(GuardianError::Start)?;
        ours.set_nonblocking(true).map_err(GuardianError::Start)?;
        let mut process = Command::new(&command.program);
        process.args(&command.args).arg("--qmp").arg(qmp).arg("--run-dir").arg(run_dir);
        process.arg("--budget-ms").arg(budget.as_millis().to_string());
        if let Some(pid) = pid {
            process.arg("--pid").arg(pid.to_string());
        }
        process.stdin(Stdio::from(OwnedFd::from(theirs)));
        process.stdout(Stdio::null()).stderr(Stdio::null());
        // Never killed with its handle: it must outlive us.
        let child = process.kill_on_drop(false).spawn().map_err(GuardianError::Start)?;
        let stream = UnixStream::from_std(ours).map_err(GuardianError::Start)?;
        let (read, write) = stream.into_split();
        let mut guardian = Self { child, read: BufReader::new(read), write };
        let ready = guardian.reply(Duration::from_secs(10)).await?;
        Ok((guardian, ready))
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`GuardianError`].
    pub async fn ask(&mut self, request: &Request, within: Duration) -> Result<Reply, GuardianError> {
        let mut line = serde_json::to_vec(request).map_err(|_| GuardianError::Gone)?;
        line.push(b'\n');
        let sent = timeout(within, self.write.write_all(&line)).await;
        sent.map_err(|_| GuardianError::Timeout(within))?.map_err(|_| GuardianError::Gone)?;
        self.reply(within).await
    }

    /// Lets it go; it undoes what is left and ends. Waits a little for its end, so that the monitor is
    /// free again.
    pub async fn leave(mut self) {
        drop(self.write);
        drop(self.read);
        let _ = timeout(Duration::from_secs(2), self.child.wait()).await;
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn reply(&mut self, within: Duration) -> Result<Reply, GuardianError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.read).take(MAX_LINE as u64);
        let read = timeout(within, limited.read_until(b'\n', &mut line)).await;
        match read.map_err(|_| GuardianError::Timeout(within))? {
            Ok(count) if count > 0 => serde_json::from_slice(&line).map_err(|_| GuardianError::Gone),
            _ => Err(GuardianError::Gone),
        }
    }
}
