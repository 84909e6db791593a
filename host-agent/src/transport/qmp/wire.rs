//! The task that owns one QMP socket: reads, writes, delivers. Nobody else touches the socket.
//!
//! Reads are bounded per turn so that a flooding peer cannot starve other tasks; writes never block
//! (what does not fit waits in a queue of bounded length); a descriptor travels with the first byte
//! of its command (`SCM_RIGHTS`).

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Way};
use super::message::Greeting;
use super::session::{Output, Session};

/// Bytes read before other tasks get their turn.
const READ_PER_TURN: usize = 64 << 10;

/// What the task can tell about one command.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Result<Value, super::message::Refusal>),
    Closed { mid_reply: bool },
    Garbage(String),
    Backlogged(usize),
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Order {
    Send(Request),
    /// Close the socket now, whoever still has a handle.
    Leave,
}

/// One command for the task.
#[derive(Debug)]
pub(super) struct Request {
    pub name: &'static str,
    pub arguments: Value,
    pub fd: Option<OwnedFd>,
    pub reply: oneshot::Sender<Reply>,
}

/// How the greeting went.
#[derive(Debug)]
pub(super) enum Hello {
    Greeting(Greeting),
    Garbage(String),
}

struct Wire {
    stream: UnixStream,
    session: Session,
    book: Book,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
    out: VecDeque<Chunk>,
    hello: Option<oneshot::Sender<Hello>>,
}

struct Chunk {
    bytes: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
}

/// Runs until the peer closes or all handles are dropped.
pub(super) async fn run(
    stream: UnixStream,
    book: Book,
    mut orders: mpsc::Receiver<Order>,
    hello: oneshot::Sender<Hello>,
) {
    let mut wire = Wire {
        stream,
        session: Session::new(),
        book,
        waiting: HashMap::new(),
        out: VecDeque::new(),
        hello: Some(hello),
    };
    wire.book.connected();
    let why = loop {
        let interest =
            if wire.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Send(request)) => wire.take(request),
                Some(Order::Leave) | None => break "left".to_owned(),
            },
            ready = wire.stream.ready(interest) => {
                let step = match ready {
                    Ok(ready) => wire.io(ready.is_readable(), ready.is_writable()),
                    Err(e) => Err(e),
                };
                if let Err(e) = step {
                    break format!("closed: {e}");
                }
                tokio::task::yield_now().await;
            }
        }
    };
    wire.book.disconnected(&why);
    let mid_reply = wire.session.mid_line();
    for (_, reply) in wire.waiting.drain() {
        // The asker may have given up: that is no error.
        let _ = reply.send(Reply::Closed { mid_reply });
    }
    // `wire` and its socket go before `orders`: who waits for the channel to close knows that the
    // socket is free again.
    drop(wire);
    drop(orders);
}

impl Wire {
    fn take(&mut self, order: Request) {
        match self.session.command(order.name, &order.arguments) {
            Ok((id, line)) => {
                self.book.wire(Way::Sent, &line);
                self.waiting.insert(id, order.reply);
                self.out.push_back(Chunk { bytes: line, sent: 0, fd: order.fd });
            }
            Err(full) => {
                let _ = order.reply.send(Reply::Backlogged(full.0));
            }
        }
    }

    fn io(&mut self, readable: bool, writable: bool) -> io::Result<()> {
        if writable {
            self.write()?;
        }
        if readable {
            self.read()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(chunk) = self.out.front_mut() {
            match self.stream.try_io(Interest::WRITABLE, || send(&self.stream, chunk)) {
                Ok(count) => {
                    chunk.sent += count;
                    // The kernel has its own reference once the first byte is out.
                    chunk.fd = None;
                    if chunk.sent >= chunk.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0u8; 16 << 10];
        let mut turn = 0;
        while turn < READ_PER_TURN {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    turn += count;
                    let book = self.book.clone();
                    let outputs = self.session.received(buffer.get(..count).unwrap_or_default(), |line| {
                        book.wire(Way::Received, line);
                    });
                    for output in outputs {
                        self.deliver(output);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::Greeting(greeting) => {
                if let Some(hello) = self.hello.take() {
                    let _ = hello.send(Hello::Greeting(greeting));
                }
            }
            Output::Answer { id, result } => {
                // A late answer finds nobody waiting any more: harmless.
                if let Some(reply) = self.waiting.remove(&id)
                    && reply.send(Reply::Answer(result)).is_err()
                {
                    self.book.stray();
                }
            }
            Output::Stray(_) => self.book.stray(),
            Output::Event { name, data, qemu_time_us } => self.book.event(name, data, qemu_time_us),
            Output::Garbage(sample) => {
                self.book.garbage();
                if let Some(hello) = self.hello.take() {
                    let _ = hello.send(Hello::Garbage(sample));
                    return;
                }
                // The garbage may have been the answer: whoever waits learns it now rather than by a
                // timeout. Ids make the real answer harmless if it still comes.
                for (_, reply) in self.waiting.drain() {
                    let _ = reply.send(Reply::Garbage(sample.clone()));
                }
            }
        }
    }
}

fn send(stream: &UnixStream, chunk: &Chunk) -> io::Result<usize> {
    let rest = chunk.bytes.get(chunk.sent..).unwrap_or_default();
    let fds: Vec<_> = chunk.fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let count = sendmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &[IoSlice::new(rest)],
        control,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(count)
}
