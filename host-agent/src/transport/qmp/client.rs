//! One QMP connection: connect, greeting, negotiation and commands, each with its deadline.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qapi::{Command, qmp};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::allowed::{
    Allowed, HealthyPermit, HmpGdbServer, HmpRead, L2Permit, L3Permit, Pauses, Touches, WhenHealthy,
};
use super::book::Book;
use super::error::{AskError, ConnectError};
use super::message::Greeting;
use super::wire::{Hello, Order, Reply, Request, run};
use crate::transport::holders::{Holder, Occupancy, occupancy};
use crate::transport::process::{ProcessState, process_state};

/// Deadline of each step towards a usable connection.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// `connect(2)`.
    pub connect: Duration,
    /// From connected to the greeting.
    pub greeting: Duration,
    /// `qmp_capabilities`.
    pub negotiation: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            greeting: Duration::from_secs(2),
            negotiation: Duration::from_secs(2),
        }
    }
}

/// A greeted and negotiated connection. Clones share it; it is left when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Qmp {
    orders: mpsc::Sender<Order>,
    greeting: Greeting,
    pid: Option<u32>,
    book: Book,
}

impl Qmp {
    /// Connects to the QMP socket at `path`. `book` gets events and wire log. `pid` is QEMU's, where
    /// the caller knows it better than `SO_PEERCRED` (a socket that libvirt opened for QEMU has
    /// libvirt's).
    ///
    /// # Errors
    /// [`ConnectError`], which tells busy, silent, stopped, gone and garbage apart.
    pub async fn connect(
        path: &Path,
        book: Book,
        deadlines: Deadlines,
        pid: Option<u32>,
    ) -> Result<Self, ConnectError> {
        let began = Instant::now();
        let stream = match timeout(deadlines.connect, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(refused(path, e, pid).await),
            Err(_) => return Err(nobody_answers(path, None, began.elapsed(), pid).await),
        };
        let pid = pid.or_else(|| peer_pid(&stream));
        let inode = inode_of(&stream);
        let (orders, inbox) = mpsc::channel(super::session::MAX_OUTSTANDING);
        let (hello, greeted) = oneshot::channel();
        let task_book = book.clone();
        tokio::spawn(run(stream, task_book, inbox, hello));

        let greeting = match timeout(deadlines.greeting, greeted).await {
            Ok(Ok(Hello::Greeting(greeting))) => greeting,
            Ok(Ok(Hello::Garbage(sample))) => {
                let path = path.to_owned();
                return Err(ConnectError::Garbage { path, sample });
            }
            Ok(Err(_)) => {
                return Err(match pid.map(|pid| (pid, process_state(pid))) {
                    Some((pid, state)) if state.is_over() => ConnectError::QemuGone { pid },
                    _ => closed(path, "greeting"),
                });
            }
            Err(_) => return Err(nobody_answers(path, inode, began.elapsed(), pid).await),
        };
        let qmp = Self { orders, greeting, pid, book };
        if let Err(e) = qmp.negotiate(path, deadlines.negotiation).await {
            qmp.leave().await;
            return Err(e);
        }
        Ok(qmp)
    }

    /// What QEMU said first.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// QEMU's pid (`SO_PEERCRED`: the process that called `listen`), when known.
    #[must_use]
    pub fn qemu_pid(&self) -> Option<u32> {
        self.pid
    }

    /// Events and wire log.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// False once the peer has closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.orders.is_closed()
    }

    /// Closes the socket, whoever else has a handle, and waits (shortly) until it is closed: a QMP
    /// socket serves one client, and the next may be ourselves.
    pub async fn leave(&self) {
        let leave = async {
            // Closed already is as good.
            let _ = self.orders.send(Order::Leave).await;
            self.orders.closed().await;
        };
        let _ = timeout(Duration::from_millis(500), leave).await;
    }

    /// Asks a question of rung L1.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask<C: Allowed>(&self, command: C, within: Duration) -> Result<C::Ok, AskError> {
        typed::<C>(self.ask_raw(command, within).await?)
    }

    /// As [`Qmp::ask`], with the answer as QEMU gave it: nothing is lost when the schema is older.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_raw<C: Allowed>(&self, command: C, within: Duration) -> Result<Value, AskError> {
        self.send(C::NAME, arguments(&command)?, None, within).await
    }

    /// Asks for the block graph, while the guest is healthy.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask_healthy<C: WhenHealthy>(
        &self,
        _permit: HealthyPermit,
        command: C,
        within: Duration,
    ) -> Result<Value, AskError> {
        self.send(C::NAME, arguments(&command)?, None, within).await
    }

    /// A read through the human monitor; gives its text.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn hmp(&self, read: HmpRead, within: Duration) -> Result<String, AskError> {
        self.human(read.line(), within).await
    }

    /// Starts or ends QEMU's gdb stub (rung L2).
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn gdb_server(
        &self,
        _permit: &L2Permit,
        command: &HmpGdbServer,
        within: Duration,
    ) -> Result<String, AskError> {
        self.human(command.line(), within).await
    }

    /// Sends a command of rung L2, with a descriptor for `getfd`.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn pause_rung<C: Pauses>(
        &self,
        _permit: &L2Permit,
        command: C,
        fd: Option<OwnedFd>,
        within: Duration,
    ) -> Result<C::Ok, AskError> {
        typed::<C>(self.send(C::NAME, arguments(&command)?, fd, within).await?)
    }

    /// Sends a command of rung L3.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn touch<C: Touches>(
        &self,
        _permit: &L3Permit,
        command: C,
        within: Duration,
    ) -> Result<C::Ok, AskError> {
        typed::<C>(self.send(C::NAME, arguments(&command)?, None, within).await?)
    }

    async fn human(&self, line: String, within: Duration) -> Result<String, AskError> {
        let arguments = json!({ "command-line": line });
        let value = self.send("human-monitor-command", arguments, None, within).await?;
        typed::<qmp::human_monitor_command>(value)
    }

    async fn negotiate(&self, path: &Path, within: Duration) -> Result<(), ConnectError> {
        let arguments = if self.greeting.oob { json!({ "enable": ["oob"] }) } else { json!({}) };
        match self.send("qmp_capabilities", arguments, None, within).await {
            Ok(_) => Ok(()),
            Err(AskError::Closed { .. }) => Err(closed(path, "negotiation")),
            Err(AskError::Garbage { sample, .. }) => {
                Err(ConnectError::Garbage { path: path.to_owned(), sample })
            }
            // It may have been stopped or killed between its greeting and this.
            Err(other) => Err(match self.pid.map(|pid| (pid, process_state(pid))) {
                Some((pid, ProcessState::Stopped)) => ConnectError::QemuStopped { pid },
                Some((pid, state)) if state.is_over() => ConnectError::QemuGone { pid },
                _ => ConnectError::Negotiation { path: path.to_owned(), why: other.to_string() },
            }),
        }
    }

    async fn send(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<OwnedFd>,
        within: Duration,
    ) -> Result<Value, AskError> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Send(Request { name: command, arguments, fd, reply });
        let exchange = async {
            let gone = Reply::Closed { mid_reply: false };
            if self.orders.send(order).await.is_err() {
                return gone;
            }
            answer.await.unwrap_or(gone)
        };
        let timed_out = AskError::Timeout { command, waited: within };
        match timeout(within, exchange).await.map_err(|_| timed_out)? {
            Reply::Answer(Ok(value)) => Ok(value),
            Reply::Answer(Err(refusal)) => {
                Err(AskError::Refused { command, class: refusal.class, desc: refusal.desc })
            }
            Reply::Closed { mid_reply } => Err(AskError::Closed { command, mid_reply }),
            Reply::Garbage(sample) => Err(AskError::Garbage { command, sample }),
            Reply::Backlogged(outstanding) => Err(AskError::Backlogged { command, outstanding }),
        }
    }
}

fn arguments<C: Command>(command: &C) -> Result<Value, AskError> {
    serde_json::to_value(command).map_err(|source| AskError::Shape {
        command: C::NAME,
        raw: Value::Null,
        source,
    })
}

fn typed<C: Command>(value: Value) -> Result<C::Ok, AskError> {
    serde_json::from_value(value.clone()).map_err(|source| AskError::Shape {
        command: C::NAME,
        raw: value,
        source,
    })
}

fn closed(path: &Path, during: &'static str) -> ConnectError {
    ConnectError::Closed { path: path.to_owned(), during }
}

async fn refused(path: &Path, source: io::Error, pid: Option<u32>) -> ConnectError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => ConnectError::NoSocket { path },
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { path },
        io::ErrorKind::PermissionDenied => ConnectError::Denied { path },
        // The backlog is full: several clients wait already.
        io::ErrorKind::WouldBlock => nobody_answers(&path, None, Duration::ZERO, pid).await,
        _ => ConnectError::Io { path, source },
    }
}

/// No greeting: stopped, gone, busy or silent.
async fn nobody_answers(path: &Path, inode: Option<u64>, waited: Duration, pid: Option<u32>) -> ConnectError {
    let qemu = pid.map(process_state);
    if let Some(pid) = pid {
        match qemu {
            Some(ProcessState::Stopped) => return ConnectError::QemuStopped { pid },
            Some(state) if state.is_over() => return ConnectError::QemuGone { pid },
            _ => {}
        }
    }
    let seen = look_around(path.to_owned(), inode).await;
    let path = path.to_owned();
    match seen {
        Some(Occupancy { holders, .. }) if !holders.is_empty() => {
            // With several (a server that is no QEMU) the first one that can be named.
            let named = holders.iter().find(|h| h.pid.is_some());
            let peer = named.or(holders.first()).cloned().unwrap_or(Holder { pid: None, name: None });
            ConnectError::Busy { path, peer, qemu }
        }
        other => ConnectError::Silent { path, accepted: other.and_then(|o| o.ours_accepted), waited, qemu },
    }
}

async fn look_around(path: PathBuf, inode: Option<u64>) -> Option<Occupancy> {
    let look = tokio::task::spawn_blocking(move || occupancy(&path, inode).ok());
    timeout(Duration::from_secs(2), look).await.ok()?.ok()?
}

fn peer_pid(stream: &UnixStream) -> Option<u32> {
    let pid = stream.peer_cred().ok()?.pid()?;
    u32::try_from(pid).ok().filter(|p| *p != 0)
}

fn inode_of(stream: &UnixStream) -> Option<u64> {
    let link = format!("/proc/self/fd/{}", stream.as_raw_fd());
    std::fs::metadata(link).ok().map(|m| m.st_ino())
}
