//! A running guest: its sockets, its monitor, its control port, its end.

use super::builder::Builder;
use super::devices::Line;
use super::launch::Process;
use super::line::remaining;
use super::run_folder::RunFolder;
use super::{Control, Error, Qmp, Result};
use crate::nbd::NbdServer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long QEMU may take until its monitor answers.
const MONITOR_WAIT: Duration = Duration::from_secs(30);
/// Where the console is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port on 127.0.0.1.
    Tcp(u16),
    /// A terminal device.
    Pty(PathBuf),
}

/// A QEMU process of ours. Dropping it kills QEMU and removes its folder.
#[derive(Debug)]
pub struct Guest {
    pub(super) builder: Builder,
    // Declared before `run`: the process ends before its folder goes.
    pub(super) process: Process,
    pub(super) nbd: Option<NbdServer>,
    pub(super) qmp: Option<Qmp>,
    pub(super) control: Option<Control>,
    pub(super) run: RunFolder,
    pub(super) boots: u32,
    pub(super) ready: bool,
    pub(super) twin: Option<Box<Guest>>,
}

impl Guest {
    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.builder.name
    }

    /// The description it was made from.
    pub fn builder(&self) -> &Builder {
        &self.builder
    }

    /// The folder of its sockets.
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// The monitor socket that is free for the agent (the first of the builder's).
    pub fn qmp_path(&self) -> PathBuf {
        let first = self.builder.qmp_sockets.first();
        self.run.path().join(first.map_or(Path::new("qmp.sock"), PathBuf::as_path))
    }

    /// How many boots it took to get ready.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// The fixture's own monitor session.
    pub fn qmp(&mut self) -> Result<&mut Qmp> {
        if self.qmp.is_none() {
            self.connect_monitor()?;
        }
        self.qmp.as_mut().ok_or_else(|| Error::Setup("no monitor session".to_owned()))
    }

    pub(super) fn connect_monitor(&mut self) -> Result<()> {
        let path = self.run.file("fixture.sock");
        let deadline = Instant::now() + MONITOR_WAIT;
        while !path.exists() {
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("monitor socket {}", path.display()),
                    waited: MONITOR_WAIT,
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.qmp = Some(Qmp::connect(&path, remaining(deadline))?);
        Ok(())
    }

    /// Where the console is. For TCP and pty QEMU is asked.
    pub fn console(&mut self) -> Result<ConsoleAddress> {
        if self.builder.console.line == Line::Unix {
            let path = self.builder.console.path.clone();
            let path = path.unwrap_or_else(|| self.run.file("console.sock"));
            return Ok(ConsoleAddress::Unix(path));
        }
        let list = self.qmp()?.execute("query-chardev", json!({}))?;
        let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let labels = ["console", "console-base"];
        let file_name = entries
            .iter()
            .filter(|it| labels.contains(&it["label"].as_str().unwrap_or_default()))
            .filter_map(|it| it["filename"].as_str())
            .find(|it| it.contains("pty:") || it.contains("tcp:"))
            .unwrap_or_default();
        let strange = || Error::Protocol {
            what: "query-chardev",
            answer: list.to_string().chars().take(400).collect(),
        };
        if let Some(path) = file_name.strip_prefix("pty:") {
            return Ok(ConsoleAddress::Pty(PathBuf::from(path)));
        }
        let port = file_name
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse().ok());
        port.map(ConsoleAddress::Tcp).ok_or_else(strange)
    }

    /// The console's socket or terminal device; a TCP console has no path.
    pub fn console_path(&mut self) -> Result<PathBuf> {
        match self.console()? {
            ConsoleAddress::Unix(path) | ConsoleAddress::Pty(path) => Ok(path),
            ConsoleAddress::Tcp(port) => {
                Err(Error::Setup(format!("the console is on TCP port {port} and has no path")))
            }
        }
    }

    /// QEMU's own log of the console, where the builder kept one.
    pub fn console_log(&self) -> Option<PathBuf> {
        self.builder.console_log.then(|| self.run.file("console.log"))
    }

    /// All console text so far, from QEMU's log.
    pub fn console_text(&self) -> Result<String> {
        let path = self.run.file("console.log");
        let bytes = std::fs::read(&path).map_err(Error::io("cannot read", &path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks the patient over its control port. A connection that failed is made anew next time,
    /// so that a late answer never meets the wrong question.
    pub fn control(&mut self, request: &str, wait: Duration) -> Result<Value> {
        let mut control = match self.control.take() {
            Some(control) => control,
            None => Control::connect(&self.run.file("control.sock"), wait)?,
        };
        let answer = control.ask(request, wait);
        if matches!(answer, Ok(_) | Err(Error::Control { .. })) {
            self.control = Some(control);
        }
        answer
    }

    /// Waits for a beat of the patient's control agent, which comes five times a second while the
    /// guest's user space runs. [`Error::Timeout`] is the proof that it stands still.
    pub fn next_beat(&mut self, wait: Duration) -> Result<u64> {
        let mut control = match self.control.take() {
            Some(control) => control,
            None => Control::connect(&self.run.file("control.sock"), wait)?,
        };
        let beat = control.next_beat(wait);
        self.control = Some(control);
        beat
    }

    /// The fixture's NBD server, when a disk is behind one.
    pub fn nbd(&self) -> Result<&NbdServer> {
        self.nbd.as_ref().ok_or_else(|| Error::Setup(format!("no disk of {} is on NBD", self.name())))
    }

    /// Fails with [`Error::Exited`] when QEMU ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if self.process.ended.is_none() {
            let pid = self.pid();
            // Off the list for a moment, rather than on it with a number that is somebody else's.
            self.run.unlist(pid);
            match self.process.child.try_wait() {
                Ok(None) => {
                    self.run.list(pid);
                    return Ok(());
                }
                Ok(Some(status)) => self.process.ended = Some(status.to_string()),
                Err(err) => return Err(Error::io("cannot wait for QEMU in", self.run.path())(err)),
            }
        }
        let stderr = std::fs::read_to_string(self.run.file("stderr")).unwrap_or_default();
        Err(Error::Exited {
            status: self.process.ended.clone().unwrap_or_default(),
            stderr: stderr.lines().rev().take(3).collect::<Vec<_>>().join(" | "),
        })
    }

    /// Sends `signal` to QEMU.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.check_alive()?;
        kill(Pid::from_raw(self.pid().cast_signed()), signal)
            .map_err(|errno| Error::io("cannot signal QEMU in", self.run.path())(errno.into()))
    }

    /// Kills QEMU and waits for its end; the folder stays until the handle is dropped.
    pub fn kill(&mut self) -> Result<()> {
        self.qmp = None;
        self.control = None;
        let pid = self.pid();
        self.run.unlist(pid);
        self.process.end();
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let pid = self.pid();
        self.run.unlist(pid);
        self.process.end();
    }
}
