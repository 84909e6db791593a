//! Line-wise talk over a unix socket, where every wait has a deadline.

use super::{Error, Result};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A line longer than this is refused: nobody we talk to has a reason to send one.
const LONGEST_LINE: usize = 16 << 20;

/// A unix socket read line by line.
#[derive(Debug)]
pub(super) struct LineSocket {
    stream: UnixStream,
    path: PathBuf,
    pending: Vec<u8>,
    searched: usize,
}

impl LineSocket {
    /// Connects, trying again until `deadline`: QEMU makes its sockets some time after it starts.
    pub(super) fn connect(path: &Path, deadline: Instant) -> Result<Self> {
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    return Ok(Self { stream, path: path.to_path_buf(), pending: Vec::new(), searched: 0 });
                }
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(err) => return Err(Error::io("cannot connect to", path)(err)),
            }
        }
    }

    /// Sends `line` and a line feed.
    pub(super) fn send(&mut self, line: &str, deadline: Instant) -> Result<()> {
        let wait = remaining(deadline);
        self.stream
            .set_write_timeout(Some(wait))
            .map_err(Error::io("cannot set a deadline on", &self.path))?;
        let mut text = Vec::with_capacity(line.len() + 1);
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        self.stream.write_all(&text).map_err(Error::io("cannot write to", &self.path))
    }

    /// The next line without its line feed; `what` names it in the error.
    pub(super) fn next_line(&mut self, what: &str, deadline: Instant) -> Result<String> {
        let began = Instant::now();
        loop {
            if let Some(at) = self.pending[self.searched..].iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.pending.drain(..=self.searched + at).collect();
                self.searched = 0;
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.searched = self.pending.len();
            if self.pending.len() > LONGEST_LINE {
                return Err(Error::Protocol {
                    what: "line of text",
                    answer: format!("{LONGEST_LINE} bytes without a line feed"),
                });
            }
            let late = || Error::Timeout {
                what: format!("{what} on {}", self.path.display()),
                waited: began.elapsed(),
            };
            if Instant::now() >= deadline {
                return Err(late());
            }
            self.stream
                .set_read_timeout(Some(remaining(deadline)))
                .map_err(Error::io("cannot set a deadline on", &self.path))?;
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(Error::io("the peer closed", &self.path)(ErrorKind::UnexpectedEof.into()));
                }
                Ok(n) => self.pending.extend_from_slice(&chunk[..n]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(late());
                }
                Err(err) => return Err(Error::io("cannot read from", &self.path)(err)),
            }
        }
    }
}

/// Time left until `deadline`, never zero: a zero socket timeout means "for ever".
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}
