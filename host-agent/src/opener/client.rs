//! The agent's side of the opener. Blocking with a deadline on each step: run it in a
//! [`crate::node::Reader`].

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{MAX_LINE, Reply, Request};
use crate::descriptor;

/// Why the opener gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum OpenerError {
    /// It cannot be reached, or does not answer in time.
    #[error("the opener at {path} gives no answer ({source}): is vmward-opener running?")]
    NoAnswer {
        /// Its socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It answered and refused.
    #[error("the opener refused: {0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("the opener's answer has an unknown form")]
    BadAnswer,
}

/// How to reach the opener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The opener that listens at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Client {
        Client { path: path.into() }
    }

    /// The opener at its usual place ([`super::SOCKET`]), where one listens.
    pub fn where_there_is_one() -> Option<Client> {
        Path::new(super::SOCKET).exists().then(|| Client::new(super::SOCKET))
    }

    /// Asks for one descriptor; waits at most `within` for each step.
    ///
    /// # Errors
    /// [`OpenerError`].
    pub fn open(&self, request: &Request, within: Duration) -> Result<OwnedFd, OpenerError> {
        let failed = |source| OpenerError::NoAnswer { path: self.path.clone(), source };
        let line = serde_json::to_vec(request).map_err(|e| failed(e.into()))?;
        let mut buffer = [0; MAX_LINE];
        let mut exchange = || {
            let stream = UnixStream::connect(&self.path)?;
            stream.set_read_timeout(Some(within))?;
            stream.set_write_timeout(Some(within))?;
            // A server that refuses us at the door may have closed already: its words are still there.
            let sent = descriptor::send(&stream, &line, &[]);
            match descriptor::receive(&stream, &mut buffer) {
                Ok((0, _)) | Err(_) if sent.is_err() => {
                    Err(sent.err().unwrap_or(io::ErrorKind::BrokenPipe.into()))
                }
                other => other,
            }
        };
        let (length, fds) = exchange().map_err(failed)?;
        let reply: Reply = serde_json::from_slice(buffer.get(..length).unwrap_or_default())
            .map_err(|_| OpenerError::BadAnswer)?;
        match (reply.refused, fds.into_iter().next()) {
            (Some(why), _) => Err(OpenerError::Refused(why)),
            (None, Some(fd)) => Ok(fd),
            (None, None) => Err(OpenerError::BadAnswer),
        }
    }

    /// As [`Client::open`], and reads at most `cap` bytes of it.
    ///
    /// # Errors
    /// [`OpenerError`].
    pub fn read(&self, request: &Request, within: Duration, cap: usize) -> Result<Vec<u8>, OpenerError> {
        let file = File::from(self.open(request, within)?);
        let mut bytes = Vec::new();
        file.take(u64::try_from(cap).unwrap_or(u64::MAX))
            .read_to_end(&mut bytes)
            .map_err(|source| OpenerError::NoAnswer { path: self.path.clone(), source })?;
        Ok(bytes)
    }
}
