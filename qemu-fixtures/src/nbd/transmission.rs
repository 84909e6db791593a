//! The request phase: read, write, flush, trim, write zeroes.

use super::Export;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_TRIM: u16 = 4;
const CMD_WRITE_ZEROES: u16 = 6;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
/// The longest read or write: what QEMU's client may send (`NBD_MAX_BUFFER_SIZE`).
const LONGEST_TRANSFER: u32 = 32 << 20;
static ZEROES: [u8; 65536] = [0; 65536];

#[derive(Debug)]
struct Request {
    kind: u16,
    cookie: u64,
    offset: u64,
    length: u32,
    data: Vec<u8>,
}

/// A request that was swallowed, with the way back to its client.
#[derive(Debug)]
pub(super) struct Parked {
    stream: UnixStream,
    request: Request,
}

impl Parked {
    /// Does what was asked and answers it, late.
    pub(super) fn answer(mut self, export: &Export) -> io::Result<()> {
        let answer = self.request.perform(export);
        self.stream.write_all(&answer)
    }
}

/// Serves one client until it leaves.
pub(super) fn serve(mut stream: UnixStream, export: &Arc<Export>) -> io::Result<()> {
    while let Some(request) = Request::read(&mut stream)? {
        // Silence, and its end, come between two requests: the lock is held while one is
        // answered, so that an answer never overtakes an earlier, swallowed one.
        let delay = export.behaviour().delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut behaviour = export.behaviour();
        if behaviour.silent {
            let stream = stream.try_clone()?;
            behaviour.parked.push(Parked { stream, request });
            continue;
        }
        let answer = request.perform(export);
        stream.write_all(&answer)?;
        behaviour.answered += 1;
    }
    Ok(())
}

impl Request {
    /// The next request; `None` when the client says goodbye.
    fn read(stream: &mut UnixStream) -> io::Result<Option<Self>> {
        let mut head = [0; 28];
        stream.read_exact(&mut head)?;
        let field = |from: usize, to: usize| {
            head[from..to].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let small = |from, to| u16::try_from(field(from, to)).unwrap_or_default();
        let word = |from, to| u32::try_from(field(from, to)).unwrap_or_default();
        let mut request = Self {
            kind: small(6, 8),
            cookie: field(8, 16),
            offset: field(16, 24),
            length: word(24, 28),
            data: Vec::new(),
        };
        let transfers = matches!(request.kind, CMD_READ | CMD_WRITE);
        if word(0, 4) != REQUEST_MAGIC || (transfers && request.length > LONGEST_TRANSFER) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if request.kind == CMD_DISC {
            return Ok(None);
        }
        if request.kind == CMD_WRITE {
            request.data = vec![0; request.length as usize];
            stream.read_exact(&mut request.data)?;
        }
        Ok(Some(request))
    }

    /// Does what is asked and gives the whole reply.
    fn perform(&self, export: &Export) -> Vec<u8> {
        let mut read = Vec::new();
        let outcome = self.try_perform(export, &mut read);
        let code = match outcome {
            Ok(()) => 0,
            Err(err) if err.kind() == io::ErrorKind::InvalidInput => EINVAL,
            Err(_) => EIO,
        };
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(code.to_be_bytes());
        reply.extend(self.cookie.to_be_bytes());
        if code == 0 {
            reply.append(&mut read);
        }
        reply
    }

    fn try_perform(&self, export: &Export, read: &mut Vec<u8>) -> io::Result<()> {
        let end = self.offset.checked_add(u64::from(self.length));
        if end.is_none_or(|end| end > export.size) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self.kind {
            CMD_READ => {
                read.resize(self.length as usize, 0);
                export.file.read_exact_at(read, self.offset)?;
            }
            CMD_WRITE => export.file.write_all_at(&self.data, self.offset)?,
            // A trimmed range may keep its contents, and a flush need not reach a platter: the
            // file is thrown away with its guest.
            CMD_FLUSH | CMD_TRIM => {}
            CMD_WRITE_ZEROES => {
                let mut done = 0;
                while done < u64::from(self.length) {
                    let left = u64::from(self.length) - done;
                    let chunk = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROES.len());
                    export.file.write_all_at(&ZEROES[..chunk], self.offset + done)?;
                    done += chunk as u64;
                }
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }
}
