//! A second shell of the guest on a port of its own: no echo, no terminal, no log lines in between, and many
//! times faster than an emulated serial line.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::qemu::{Builder, Guest};

/// Name and socket of the port.
const PORT: (&str, &str) = ("org.vmward.truth", "truth.sock");
/// The guest's devices that can be it: the first port is the control agent's, and the number in front of it
/// is that of the PCI device.
const DEVICES: &str = "/dev/vport*p2";
/// How long the shell may take to start.
const START: Duration = Duration::from_secs(30);
/// Bytes of an answer at most: no guest has more than this to tell.
const LONGEST: usize = 64 << 20;

/// The host's end of the shell.
#[derive(Debug)]
pub(super) struct Shell {
    stream: UnixStream,
    asked: u32,
    /// After a question that was not answered in time its answer may come at any moment.
    lost: bool,
}

impl Shell {
    /// Gives the guest the port.
    pub(super) fn port(builder: Builder) -> Builder {
        builder.serial_port(PORT.0, PORT.1)
    }

    /// Has the shell on the console start this one.
    pub(super) fn start(guest: &mut Guest) -> Result<Self> {
        let socket = guest.folder().join(PORT.1);
        let stream = connect(&socket)?;
        let mut console = connect(&guest.console_path()?)?;
        let line = format!("\rfor it in {DEVICES}; do sh <>$it >&0 2>/dev/null & done\r");
        console.write_all(line.as_bytes()).context("cannot type on the console")?;
        let mut shell = Self { stream, asked: 0, lost: false };
        let answer = shell.ask("echo well", START).context("the guest's shell started no other")?;
        ensure!(answer == b"well\n", "the guest's shell says {:?}", String::from_utf8_lossy(&answer));
        Ok(shell)
    }

    /// Runs one line and gives what it wrote to its standard output.
    pub(super) fn ask(&mut self, command: &str, wait: Duration) -> Result<Vec<u8>> {
        ensure!(!self.lost, "the guest's shell still owes an earlier answer");
        self.asked += 1;
        // The shell reads its commands from the port, so they must not.
        let end = format!("\n=end of answer {}=\n", self.asked);
        let line =
            format!("{{ {command}; }} < /dev/null; printf '\\n=end of answer %s=\\n' {}\n", self.asked);
        let answer = self.answer(&line, end.as_bytes(), wait);
        self.lost = answer.is_err();
        answer.with_context(|| format!("while the guest's shell ran `{command}`"))
    }

    fn answer(&mut self, line: &str, end: &[u8], wait: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now() + wait;
        self.stream.set_write_timeout(Some(wait))?;
        self.stream.write_all(line.as_bytes())?;
        let mut answer = Vec::new();
        let mut chunk = vec![0; 65536];
        while !answer.ends_with(end) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer within {} s", wait.as_secs());
            }
            ensure!(answer.len() < LONGEST, "the answer has no end");
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the port was closed"),
                Ok(n) => answer.extend_from_slice(&chunk[..n]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(err) => return Err(err).context("cannot read from the port"),
            }
        }
        answer.truncate(answer.len() - end.len());
        Ok(answer)
    }
}

fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))
}
