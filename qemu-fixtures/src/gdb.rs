//! Just enough of the GDB remote protocol to overwrite a few bytes of kernel text.
//!
//! The fixture makes an oops or a spin on a stock kernel by writing an instruction over the entry
//! of a system call that nothing uses, through QEMU's gdb stub. Text is read-only to the guest
//! but not to the stub, and TCG throws its translation of the page away.
//!
//! Connecting stops the guest; `D` lets it run on; the stub is closed on every way out. Protocol:
//! the GDB manual, appendix "GDB Remote Serial Protocol".

use crate::qemu::{Error, Guest, Result};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the stub may take for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Longest answer that is read: the stub's packets hold 4096 bytes.
const LONGEST_ANSWER: usize = 65536;

/// Writes `bytes` at the virtual address `address` of a running guest, reads them back, and lets
/// the guest run on.
pub fn overwrite(guest: &mut Guest, address: u64, bytes: &[u8]) -> Result<()> {
    let socket = guest.folder().join("gdb.sock");
    let device = format!("unix:{},server=on,wait=off", socket.display());
    guest.qmp()?.human(&format!("gdbserver {device}"))?;
    let written = write_through(&socket, guest.builder().n_vcpus(), address, bytes);
    let closed = guest.qmp()?.human("gdbserver none");
    // Whatever happened above, a guest that the stub stopped must run again.
    if guest.qmp()?.status()? != "running" {
        guest.qmp()?.execute("cont", serde_json::json!({}))?;
    }
    let _removed = std::fs::remove_file(&socket);
    written?;
    closed.map(drop)
}

/// Tries the address spaces of all vCPUs: one in user mode may have kernel text unmapped.
fn write_through(socket: &Path, n_vcpus: u32, address: u64, bytes: &[u8]) -> Result<()> {
    let mut stub = Stub::connect(socket)?;
    let mut last = String::new();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let length = bytes.len();
    for vcpu in 1..=n_vcpus {
        stub.ask(&format!("Hgp1.{vcpu}"))?;
        let answer = stub.ask(&format!("M{address:x},{length:x}:{hex}"))?;
        let seen = stub.ask(&format!("m{address:x},{length:x}"))?;
        if answer == "OK" && seen == hex {
            // The answer to `D` is of no interest: the caller asks the run state.
            return stub.ask("D;1").map(drop);
        }
        last = format!("{answer}, then reads {seen}");
    }
    stub.ask("D;1")?;
    Err(Error::Protocol { what: "writing kernel text through the gdb stub", answer: last })
}

/// A connection to a stub.
struct Stub {
    stream: UnixStream,
    pending: Vec<u8>,
}

impl Stub {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(Error::io("cannot connect to", socket))?;
        let mut stub = Self { stream, pending: Vec::new() };
        // QEMU 7.2 reports the stop that the connection made; later ones (10.0) are silent until
        // they are asked for it. `?` makes an answer certain, and a second one is skipped below.
        stub.ask("qSupported:multiprocess+")?;
        stub.ask("?")?;
        Ok(stub)
    }

    /// Sends one packet and gives the answer's text. Unasked stop replies are skipped, except as
    /// the answer to `?`.
    fn ask(&mut self, packet: &str) -> Result<String> {
        self.stream.write_all(&frame(packet)).map_err(Error::io("cannot write to", "the gdb stub"))?;
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            let answer = self.answer(packet, deadline)?;
            if packet == "?" || !(answer.starts_with('T') || answer.starts_with('S')) {
                return Ok(answer);
            }
        }
    }

    fn answer(&mut self, packet: &str, deadline: Instant) -> Result<String> {
        loop {
            if let Some((answer, used)) = take_packet(&self.pending) {
                self.pending.drain(..used);
                self.stream.write_all(b"+").map_err(Error::io("cannot write to", "the gdb stub"))?;
                return Ok(answer);
            }
            if self.pending.len() > LONGEST_ANSWER {
                return Err(Error::Protocol {
                    what: "gdb packet",
                    answer: format!("{} bytes without an end", self.pending.len()),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout {
                    what: format!("answer of the gdb stub to `{packet}`"),
                    waited: ANSWER_WAIT,
                });
            }
            self.stream.set_read_timeout(Some(left)).map_err(Error::io("cannot set up", "the gdb stub"))?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(Error::io("the peer closed", "the gdb stub")(
                        ErrorKind::UnexpectedEof.into(),
                    ));
                }
                Ok(n) => self.pending.extend_from_slice(&chunk[..n]),
                Err(err)
                    if matches!(
                        err.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(err) => return Err(Error::io("cannot read from", "the gdb stub")(err)),
            }
        }
    }
}

fn checksum(payload: &[u8]) -> u8 {
    payload.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn frame(packet: &str) -> Vec<u8> {
    format!("${packet}#{:02x}", checksum(packet.as_bytes())).into_bytes()
}

/// The first whole packet in `bytes` and how many bytes it took, acknowledgements included.
/// A packet with a wrong checksum cannot happen on a unix socket and is passed over.
fn take_packet(bytes: &[u8]) -> Option<(String, usize)> {
    let mut from = 0;
    loop {
        let start = from + bytes.get(from..)?.iter().position(|byte| *byte == b'$')?;
        let end = start + bytes[start..].iter().position(|byte| *byte == b'#')?;
        let sum = bytes.get(end + 1..end + 3)?;
        let payload = &bytes[start + 1..end];
        let sum = std::str::from_utf8(sum).ok();
        if sum.and_then(|hex| u8::from_str_radix(hex, 16).ok()) == Some(checksum(payload)) {
            return Some((String::from_utf8_lossy(payload).into_owned(), end + 3));
        }
        from = end + 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_framed_as_the_gdb_manual_shows() {
        // The sums are sums: 'g' is 0x67; "OK" is 0x4f + 0x4b = 0x9a.
        assert_eq!(frame("g"), b"$g#67");
        assert_eq!(take_packet(b"+$OK#9a"), Some(("OK".to_owned(), 7)));
    }

    #[test]
    fn a_packet_in_pieces_or_with_a_wrong_sum_is_not_taken() {
        assert_eq!(take_packet(b"+$OK#9"), None);
        assert_eq!(take_packet(b"$OK#00$E01#a6"), Some(("E01".to_owned(), 13)));
        assert_eq!(take_packet(b""), None);
    }
}
