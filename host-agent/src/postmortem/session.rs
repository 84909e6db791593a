//! One gdb, from its first packet until it leaves.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStubBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Snapshot;
use super::packet::{Came, Cutter, PACKET_SIZE, refusal, selected};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// gdb said that it leaves.
    Detached,
    /// The connection was closed; `asked` says whether anything had been asked before.
    Closed {
        /// Whether it was a gdb at all.
        asked: bool,
    },
    /// We were told to end.
    Told,
    /// What came is no protocol of gdb's.
    Nonsense(String),
}

/// A connection.
pub(super) trait Stream: AsFd {
    fn read_some(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn write_whole(&self, buf: &[u8]) -> io::Result<()>;
}

impl<S: AsFd> Stream for S
where
    for<'a> &'a S: Read + Write,
{
    fn read_some(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut this = self;
        this.read(buf)
    }

    fn write_whole(&self, buf: &[u8]) -> io::Result<()> {
        let mut this = self;
        this.write_all(buf)
    }
}

/// How long a gdb that left may take to close its end.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes that wait to be written.
const MAX_WAITING: usize = 64 << 10;

/// What gdbstub writes to: whole answers at once.
struct Answers<'s> {
    stream: &'s dyn Stream,
    waiting: Vec<u8>,
}

impl Connection for Answers<'_> {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.waiting.push(byte);
        if self.waiting.len() >= MAX_WAITING { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_whole(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Answers until gdb leaves or `told` becomes readable.
pub(super) fn serve(
    stream: &dyn Stream,
    told: &dyn AsFd,
    snapshot: &mut Snapshot<'_, '_>,
) -> io::Result<Ended> {
    let mut room = [0; PACKET_SIZE];
    let answers = Answers { stream, waiting: Vec::new() };
    let stub = GdbStubBuilder::new(answers).with_packet_buffer(&mut room).build();
    let stub = stub.map_err(io::Error::other)?;
    let nonsense = |error: &dyn std::fmt::Display| Ok(Ended::Nonsense(error.to_string()));
    let mut machine = match stub.run_state_machine(snapshot) {
        Ok(machine) => machine,
        Err(error) => return nonsense(&error),
    };
    let first = snapshot.threads().find(|it| it.1.is_vcpu()).or_else(|| snapshot.threads().next());
    let mut thread = first.map_or(1, |it| it.0);
    let (mut cutter, mut buf, mut asked) = (Cutter::default(), [0; 4096], false);
    loop {
        if !wait(stream, told)? {
            return Ok(Ended::Told);
        }
        let len = match stream.read_some(&mut buf) {
            Ok(0) => return Ok(Ended::Closed { asked }),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(Ended::Closed { asked });
            }
            Err(error) => return Err(error),
        };
        for byte in buf.iter().take(len) {
            let packet = match cutter.take(*byte) {
                Err(_) => return nonsense(&"a packet has no end"),
                Ok(Some(Came::Packet(packet))) => packet,
                Ok(Some(Came::Between(b'+' | 3)) | None) => continue,
                // No stream that we serve loses bytes.
                Ok(Some(Came::Between(it))) => return nonsense(&format!("{it:#04x} is no packet")),
            };
            asked = true;
            thread = selected(&packet).unwrap_or(thread);
            if let Some(answer) = refusal(&packet, thread) {
                stream.write_whole(b"+")?;
                stream.write_whole(&answer)?;
                continue;
            }
            for byte in packet {
                machine = match machine {
                    GdbStubStateMachine::Idle(idle) => match idle.incoming_data(snapshot, byte) {
                        Ok(next) => next,
                        Err(error) => return nonsense(&error),
                    },
                    GdbStubStateMachine::Disconnected(mut left) => {
                        left.borrow_conn().flush()?;
                        farewell(stream, told)?;
                        return Ok(reason(left.get_reason()));
                    }
                    // Only what can go on gets there.
                    GdbStubStateMachine::Running(_) | GdbStubStateMachine::CtrlCInterrupt(_) => {
                        return nonsense(&"the target was told to run");
                    }
                };
            }
            if let GdbStubStateMachine::Idle(idle) = &mut machine {
                idle.borrow_conn().flush()?;
            }
            if let GdbStubStateMachine::Disconnected(left) = &mut machine {
                left.borrow_conn().flush()?;
                farewell(stream, told)?;
                return Ok(reason(left.get_reason()));
            }
        }
    }
}

/// gdb acknowledges the last answer too: a connection that is closed before is an error to it. Whoever does
/// not close it is not waited for long.
fn farewell(stream: &dyn Stream, told: &dyn AsFd) -> io::Result<()> {
    let until = Instant::now() + FAREWELL;
    let mut buf = [0; 64];
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match readable(stream, told, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO))? {
            Ready::Stream => {}
            Ready::Told | Ready::Nothing => break,
        }
        if matches!(stream.read_some(&mut buf), Ok(0) | Err(_)) {
            break;
        }
    }
    Ok(())
}

fn reason(reason: DisconnectReason) -> Ended {
    match reason {
        DisconnectReason::Disconnect | DisconnectReason::Kill => Ended::Detached,
        other => Ended::Nonsense(format!("{other:?}")),
    }
}

/// Until there is something to read; `false` when we are told to end.
pub(super) fn wait(stream: &(impl AsFd + ?Sized), told: &dyn AsFd) -> io::Result<bool> {
    loop {
        match readable(stream, told, PollTimeout::NONE)? {
            Ready::Stream => return Ok(true),
            Ready::Told => return Ok(false),
            Ready::Nothing => {}
        }
    }
}

enum Ready {
    Stream,
    Told,
    Nothing,
}

fn readable(stream: &(impl AsFd + ?Sized), told: &dyn AsFd, timeout: PollTimeout) -> io::Result<Ready> {
    let mut fds =
        [PollFd::new(stream.as_fd(), PollFlags::POLLIN), PollFd::new(told.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [stream, told] = fds.map(|it| it.any().unwrap_or(false));
    Ok(match (told, stream) {
        (true, _) => Ready::Told,
        (_, true) => Ready::Stream,
        _ => Ready::Nothing,
    })
}
