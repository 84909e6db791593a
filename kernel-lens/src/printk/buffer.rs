//! The log of kernels before v5.10: records one behind the other in one buffer.
//!
//! Format: `struct printk_log` in `kernel/printk/printk.c` (commit 7ff9554bb578, v3.5): `u64 ts_nsec; u16
//! len, text_len, dict_len; u8 facility; u8 flags:5, level:3`, since v5.1 with `CONFIG_PRINTK_CALLER` a
//! `u32 caller_id`; then the text and the dictionary. A record of length 0 says that the next one is at the
//! start. The layout has not changed otherwise, so that no types are needed.

use vmward_kernel_facts::{KernelLog, LogCaller, LogRecord};

use super::text::text_of;
use crate::{AddressSpace, ReadError};

/// Bytes of a buffer at most that are read.
const MAX_BUFFER: usize = 16 << 20;
/// Bytes of a record before its text, without and with the caller.
pub(super) const PLAIN: u64 = 16;
pub(super) const WITH_CALLER: u64 = 20;
const LOG_NEWLINE: u8 = 2;
const LOG_CONT: u8 = 8;

/// What the kernel's own variables say of the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) first_index: u32,
    pub(super) next_index: u32,
    pub(super) first_seq: u64,
    /// Bytes before a record's text, where types or VMCOREINFO tell.
    pub(super) header: Option<u64>,
}

/// Reads the buffer.
pub(super) fn read_buffer(space: &AddressSpace<'_>, buffer: Buffer) -> Result<KernelLog, ReadError> {
    let bytes = space.bytes(buffer.at, (buffer.len as usize).min(MAX_BUFFER))?;
    match buffer.header {
        Some(header) => Ok(records(&bytes, buffer, header)),
        None => {
            // Where nothing tells, the right header is the one with which the lengths of the records lead
            // from the first to the next one to come.
            let plain = records(&bytes, buffer, PLAIN);
            let with_caller = records(&bytes, buffer, WITH_CALLER);
            Ok(if plain.torn <= with_caller.torn { plain } else { with_caller })
        }
    }
}

fn records(bytes: &[u8], buffer: Buffer, header: u64) -> KernelLog {
    let mut log = KernelLog::default();
    let (mut at, mut seq, mut rounds) = (buffer.first_index as usize, buffer.first_seq, 0);
    let mut walked = 0;
    // A record has a header at least: the walk ends, whatever the lengths say.
    while at != buffer.next_index as usize || (log.records.is_empty() && rounds == 0 && walked == 0) {
        let len = word(bytes, at, 8).map(usize::from);
        match len {
            Some(0) if rounds == 0 => {
                rounds = 1;
                at = 0;
                continue;
            }
            Some(len) if len >= header as usize && walked + len <= bytes.len() => {
                let Some(record) = record(bytes, at, header, seq) else {
                    log.torn += 1;
                    break;
                };
                log.records.push(record);
                at += len;
                walked += len;
                seq += 1;
            }
            _ => {
                log.torn += 1;
                break;
            }
        }
    }
    log
}

fn word(bytes: &[u8], at: usize, offset: usize) -> Option<u16> {
    let from = at.checked_add(offset)?;
    let found = bytes.get(from..from.checked_add(2)?)?;
    Some(u16::from_le_bytes(found.try_into().ok()?))
}

fn record(bytes: &[u8], at: usize, header: u64, seq: u64) -> Option<LogRecord> {
    let whole = bytes.get(at..at.checked_add(usize::from(word(bytes, at, 8)?))?)?;
    let ts_nsec = u64::from_le_bytes(whole.get(..8)?.try_into().ok()?);
    let (facility, flags) = (*whole.get(14)?, *whole.get(15)?);
    let body = whole.get(header as usize..)?;
    let text = body.get(..usize::from(word(whole, 0, 10)?))?;
    let dict = body.get(text.len()..text.len() + usize::from(word(whole, 0, 12)?))?;
    let caller = (header >= WITH_CALLER).then(|| whole.get(16..20)?.try_into().ok()).flatten();
    let from_dict = |key: &[u8]| {
        let value = |part: &[u8]| part.strip_prefix(key).map(text_of);
        dict.split(|it| *it == 0).find_map(value)
    };
    Some(LogRecord {
        seq,
        ts_nsec,
        level: flags >> 5,
        facility,
        caller: caller.map(|it| LogCaller::from_id(u32::from_le_bytes(it))),
        text: text_of(text),
        newline: flags & LOG_NEWLINE != 0,
        continues: flags & LOG_CONT != 0,
        subsystem: from_dict(b"SUBSYSTEM="),
        device: from_dict(b"DEVICE="),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One record as the kernel stores it: lengths are rounded up to 8 without a caller, to 4 with one.
    fn stored(ts_nsec: u64, caller: Option<u32>, text: &str, dict: &str) -> Vec<u8> {
        let header = if caller.is_some() { 20 } else { 16 };
        let align = if caller.is_some() { 4 } else { 8 };
        let len = (header + text.len() + dict.len()).next_multiple_of(align);
        let mut bytes = ts_nsec.to_le_bytes().to_vec();
        for word in [len, text.len(), dict.len()] {
            bytes.extend((word as u16).to_le_bytes());
        }
        bytes.extend([0, 6 << 5 | LOG_NEWLINE]);
        bytes.extend(caller.map(u32::to_le_bytes).into_iter().flatten());
        bytes.extend(text.bytes().chain(dict.bytes()));
        bytes.resize(len, 0);
        bytes
    }

    fn buffer(first: usize, next: usize) -> Buffer {
        Buffer {
            at: 0,
            len: 256,
            first_index: first as u32,
            next_index: next as u32,
            first_seq: 40,
            header: None,
        }
    }

    #[test]
    fn records_follow_each_other_and_wrap_at_one_of_length_0() {
        let mut bytes = vec![0xaa; 256];
        let (new, old) = (stored(9_000, None, "newest", ""), stored(7_000, None, "oldest", ""));
        let dict = "SUBSYSTEM=pci\0DEVICE=+pci:0000:00:01.0";
        let middle = stored(8_000, None, "with a device", dict);
        bytes[..new.len()].copy_from_slice(&new);
        bytes[100..100 + old.len()].copy_from_slice(&old);
        let at = 100 + old.len();
        bytes[at..at + middle.len()].copy_from_slice(&middle);
        bytes[at + middle.len()..][..16].fill(0);
        let log = records(&bytes, buffer(100, new.len()), PLAIN);
        let texts: Vec<_> = log.records.iter().map(|it| (it.seq, it.text.as_str())).collect();
        assert_eq!(texts, [(40, "oldest"), (41, "with a device"), (42, "newest")]);
        assert_eq!(log.records[1].device.as_deref(), Some("+pci:0000:00:01.0"));
        assert_eq!((log.records[2].level, log.records[2].newline, log.torn), (6, true, 0));
    }

    #[test]
    fn the_caller_is_read_where_there_is_one() {
        let one = stored(1, Some(0x8000_0001), "from an interrupt", "");
        let two = stored(2, Some(7), "from a task", "");
        let mut bytes = one.clone();
        bytes.extend(&two);
        bytes.resize(256, 0);
        let log = records(&bytes, buffer(0, one.len() + two.len()), WITH_CALLER);
        let callers: Vec<_> = log.records.iter().map(|it| it.caller).collect();
        assert_eq!(callers, [Some(LogCaller::Cpu(1)), Some(LogCaller::Task(7))]);
        assert_eq!(log.records[1].text, "from a task");
    }

    #[test]
    fn lengths_that_lead_nowhere_end_the_walk() {
        for len in [1u16, 17, 255, 256, u16::MAX] {
            let mut bytes = vec![0; 256];
            bytes[8..10].copy_from_slice(&len.to_le_bytes());
            let log = records(&bytes, buffer(0, 200), PLAIN);
            assert!(log.torn > 0, "{len}");
        }
        // Nothing but wraps, and an index behind the end.
        assert_eq!(records(&[0; 256], buffer(0, 200), PLAIN).torn, 1);
        assert_eq!(records(&[0; 256], buffer(4000, 200), PLAIN).torn, 1);
    }
}
