//! The option phase: the client picks an export.

use super::{Export, Exports};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const REP_ERR_INVALID: u32 = 0x8000_0003;
const REP_ERR_UNKNOWN: u32 = 0x8000_0006;
/// Has flags, flush, FUA, trim, write zeroes.
const FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6;
/// The longest option data that is read; names are far shorter.
const LONGEST_OPTION: u32 = 4096;

/// Talks until the client enters transmission (`Some`) or leaves (`None`).
pub(super) fn negotiate(stream: &mut UnixStream, exports: &Exports) -> io::Result<Option<Arc<Export>>> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x01")?;
    let client_flags = u32::from_be_bytes(read(stream)?);
    loop {
        let magic = u64::from_be_bytes(read(stream)?);
        let option = u32::from_be_bytes(read(stream)?);
        let length = u32::from_be_bytes(read(stream)?);
        if magic != OPTION_MAGIC || length > LONGEST_OPTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPT_EXPORT_NAME => {
                let Some(export) = find(exports, &data) else {
                    return Ok(None);
                };
                let mut answer = export.size.to_be_bytes().to_vec();
                answer.extend(FLAGS.to_be_bytes());
                if client_flags & 2 == 0 {
                    answer.extend([0; 124]);
                }
                stream.write_all(&answer)?;
                return Ok(Some(export));
            }
            OPT_ABORT => {
                reply(stream, option, REP_ACK, &[])?;
                return Ok(None);
            }
            OPT_LIST => {
                for name in exports.keys() {
                    let mut entry = u32::try_from(name.len()).unwrap_or_default().to_be_bytes().to_vec();
                    entry.extend(name.as_bytes());
                    reply(stream, option, REP_SERVER, &entry)?;
                }
                reply(stream, option, REP_ACK, &[])?;
            }
            OPT_INFO | OPT_GO => match asked_name(&data) {
                None => reply(stream, option, REP_ERR_INVALID, &[])?,
                Some(name) => match find(exports, name) {
                    None => reply(stream, option, REP_ERR_UNKNOWN, &[])?,
                    Some(export) => {
                        let mut info = vec![0, 0];
                        info.extend(export.size.to_be_bytes());
                        info.extend(FLAGS.to_be_bytes());
                        reply(stream, option, REP_INFO, &info)?;
                        reply(stream, option, REP_ACK, &[])?;
                        if option == OPT_GO {
                            return Ok(Some(export));
                        }
                    }
                },
            },
            _ => reply(stream, option, REP_ERR_UNSUP, &[])?,
        }
    }
}

/// The name in the data of `NBD_OPT_INFO` and `NBD_OPT_GO`: length, name, then wishes.
fn asked_name(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

/// The export of that name; the empty name means the only one.
fn find(exports: &Exports, name: &[u8]) -> Option<Arc<Export>> {
    if name.is_empty() && exports.len() == 1 {
        return exports.values().next().cloned();
    }
    exports.get(std::str::from_utf8(name).ok()?).cloned()
}

fn read<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn reply(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).unwrap_or_default();
    let mut message = REPLY_MAGIC.to_be_bytes().to_vec();
    message.extend(option.to_be_bytes());
    message.extend(kind.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(data);
    stream.write_all(&message)
}
