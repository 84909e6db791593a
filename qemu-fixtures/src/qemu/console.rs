//! Watches a console until it says a word, from QEMU's log file or, without one, by holding the
//! socket.

use super::Result;
use super::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Bytes of console text looked at; a guest that writes more before it is ready is broken.
const MOST_TEXT: usize = 64 << 20;

/// The console's text so far.
#[derive(Debug)]
pub(super) struct Watch {
    source: Box<dyn Reader>,
    pub(super) text: Vec<u8>,
}

trait Reader: Read + std::fmt::Debug + Send {}
impl Reader for File {}
impl Reader for UnixStream {}

impl Watch {
    /// Follows QEMU's log of the console.
    pub(super) fn log_file(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        Ok(Self { source: Box::new(file), text: Vec::new() })
    }

    /// Holds the console's socket, until dropped.
    pub(super) fn socket(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).map_err(Error::io("cannot connect to", path))?;
        stream.set_nonblocking(true).map_err(Error::io("cannot set up", path))?;
        Ok(Self { source: Box::new(stream), text: Vec::new() })
    }

    /// Takes in what is there now, without waiting.
    pub(super) fn refresh(&mut self) {
        let mut chunk = [0; 65536];
        while self.text.len() < MOST_TEXT {
            match self.source.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => self.text.extend_from_slice(&chunk[..n]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // Nothing there, or the peer is gone: the caller looks at the process.
                Err(_) => return,
            }
        }
    }

    /// Whether `mark` was printed.
    pub(super) fn contains(&self, mark: &str) -> bool {
        find(&self.text, mark.as_bytes())
    }

    /// The last `n` lines, made printable.
    pub(super) fn tail(&self, n: usize) -> String {
        let from = self.text.len().saturating_sub(16384);
        let text = String::from_utf8_lossy(&self.text[from..]);
        let lines: Vec<&str> = text.lines().rev().take(n).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        lines.join(" | ").escape_debug().to_string()
    }

    /// The first line that contains one of `marks`.
    pub(super) fn line_with(&self, marks: &[&str]) -> Option<String> {
        let text = String::from_utf8_lossy(&self.text);
        let line = text.lines().find(|line| marks.iter().any(|mark| line.contains(mark)))?;
        Some(line.trim().to_owned())
    }
}

fn find(text: &[u8], mark: &[u8]) -> bool {
    !mark.is_empty() && text.windows(mark.len()).any(|window| window == mark)
}
