//! The log of kernels since v5.10: a ring of descriptors over a ring of text.
//!
//! Format: `kernel/printk/printk_ringbuffer.{h,c}` (commit b6cf8b3f3312, v5.10). A descriptor is found by
//! its id, modulo their number; its `state_var` holds the id again, and in the two top bits its state. Its
//! block lies between two logical positions that only grow; a block is its descriptor's id and the text.
//! All of it is checked against each other, since a running guest writes while it is read.

use vmward_kernel_facts::{KernelLog, LogCaller, LogRecord};

use super::layout::{InfoLayout, RingLayout};
use super::text::{name_of, text_of};
use crate::{AddressSpace, ReadError};

/// Records that are read at most, the newest. A log of 128 KiB has 4096.
const MAX_RECORDS: u64 = 1 << 16;
/// Bytes of text at most.
const MAX_TEXT: u64 = 8 << 20;

/// An id is what two bits of state leave of a word.
const ID_MASK: u64 = u64::MAX >> 2;
/// Of a record that has no text because it is empty (`NO_LPOS`, v5.10). The other, `FAILED_LPOS` (0x1), has
/// none because there was no room.
const EMPTY: u64 = 3;
const LOG_NEWLINE: u8 = 2;
const LOG_CONT: u8 = 8;

/// States of a descriptor, `enum desc_state`; 3 is free for use.
const RESERVED: u64 = 0;
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

struct Ring<'a, 'm> {
    space: &'a AddressSpace<'m>,
    layout: &'a RingLayout,
    count_mask: u64,
    infos: u64,
    size_bits: u32,
    data: u64,
}

/// What became of one descriptor.
enum Found {
    Record(LogRecord),
    Unfinished,
    Lost,
    Torn,
    Free,
}

/// Reads the ring at an address.
pub(super) fn read_ring(
    space: &AddressSpace<'_>,
    at: u64,
    layout: &RingLayout,
) -> Result<KernelLog, ReadError> {
    let wrong = |what| ReadError::Inconsistent { what, virt: at };
    let word = |offset: u64| space.u64(at.wrapping_add(offset));
    let count_bits = space.u32(at.wrapping_add(layout.count_bits))?;
    let size_bits = space.u32(at.wrapping_add(layout.size_bits))?;
    if !(1..=31).contains(&count_bits) || !(4..=40).contains(&size_bits) {
        return Err(wrong("the size of the log"));
    }
    let count_mask = (1 << count_bits) - 1;
    let (head, tail) = (word(layout.head_id)? & ID_MASK, word(layout.tail_id)? & ID_MASK);
    let count = (head.wrapping_sub(tail) & ID_MASK) + 1;
    if count > count_mask + 1 {
        return Err(wrong("the range of the log's records"));
    }
    let (infos, data) = (word(layout.infos)?, word(layout.data)?);
    let ring = Ring { space, layout, count_mask, infos, size_bits, data };
    let descs = word(layout.descs)?;
    let mut log = KernelLog { left_out: count.saturating_sub(MAX_RECORDS), ..Default::default() };
    let mut text = 0;
    // Newest first, so that of a log that is too large the oldest is left out.
    for back in 0..count.min(MAX_RECORDS) {
        let id = head.wrapping_sub(back) & ID_MASK;
        if text > MAX_TEXT {
            log.left_out += count.min(MAX_RECORDS) - back;
            break;
        }
        // What cannot be read is one bad record; that reads are used up ends it all.
        let found = match ring.record(descs, id) {
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            other => other.unwrap_or(Found::Torn),
        };
        match found {
            Found::Record(record) => {
                text += record.text.len() as u64 + 1;
                log.records.push(record);
            }
            Found::Unfinished => log.unfinished += 1,
            Found::Lost => log.lost += 1,
            Found::Torn => log.torn += 1,
            Found::Free => {}
        }
    }
    log.records.reverse();
    Ok(log)
}

impl Ring<'_, '_> {
    fn record(&self, descs: u64, id: u64) -> Result<Found, ReadError> {
        let index = id & self.count_mask;
        let at = descs.wrapping_add(index.wrapping_mul(self.layout.desc_size));
        let word = |offset: u64| self.space.u64(at.wrapping_add(offset));
        let state = word(self.layout.state_var)?;
        if state & ID_MASK != id {
            return Ok(Found::Torn);
        }
        let open = match state >> 62 {
            RESERVED => return Ok(Found::Unfinished),
            COMMITTED => true,
            FINALIZED => false,
            _ => return Ok(Found::Free),
        };
        let Some((mut record, text_len)) = self.info(index)? else { return Ok(Found::Torn) };
        record.open = open;
        let (begin, next) = (word(self.layout.begin)?, word(self.layout.next)?);
        if begin & 1 == 1 && next & 1 == 1 {
            return Ok(if begin == EMPTY && next == EMPTY { Found::Record(record) } else { Found::Lost });
        }
        match self.text(id, begin, next, text_len)? {
            Some(text) => record.text = text,
            None => return Ok(Found::Torn),
        }
        Ok(Found::Record(record))
    }

    /// What the record says of itself, and the length of its text. `None` if its number is not one that
    /// this place can have: they go around as the ids do.
    fn info(&self, index: u64) -> Result<Option<(LogRecord, u16)>, ReadError> {
        let InfoLayout { size, seq, ts_nsec, text_len, facility, caller_id, comm, subsystem, device } =
            self.layout.info;
        let at = self.infos.wrapping_add(index.wrapping_mul(size));
        let here = |offset: u64| at.wrapping_add(offset);
        let number = self.space.u64(here(seq))?;
        if number & self.count_mask != index {
            return Ok(None);
        }
        let name = |offset: Option<u64>, bytes: &mut [u8]| -> Result<Option<String>, ReadError> {
            let Some(offset) = offset else { return Ok(None) };
            self.space.read(here(offset), bytes)?;
            Ok(name_of(bytes))
        };
        let flags = self.space.u8(here(facility.wrapping_add(1)))?;
        let record = LogRecord {
            seq: number,
            ts_nsec: self.space.u64(here(ts_nsec))?,
            level: flags >> 5,
            facility: self.space.u8(here(facility))?,
            caller: Some(LogCaller::from_id(self.space.u32(here(caller_id))?)),
            comm: name(comm, &mut [0; 16])?,
            newline: flags & LOG_NEWLINE != 0,
            continues: flags & LOG_CONT != 0,
            // PRINTK_INFO_SUBSYSTEM_LEN and PRINTK_INFO_DEVICE_LEN: unchanged since v5.10.
            subsystem: name(subsystem, &mut [0; 16])?,
            device: name(device, &mut [0; 48])?,
            ..Default::default()
        };
        Ok(Some((record, self.space.u16(here(text_len))?)))
    }

    /// The text of a block. A block that does not fit before the end of the data lies at its start: it
    /// does so if its first and its last byte are in different rounds. The masked positions do not tell,
    /// since kernels with `is_blk_wrapped()` may end a block exactly at the end.
    fn text(&self, id: u64, begin: u64, next: u64, len: u16) -> Result<Option<String>, ReadError> {
        let (mask, len) = ((1u64 << self.size_bits) - 1, u64::from(len));
        let wrapped = begin >> self.size_bits != next.wrapping_sub(1) >> self.size_bits;
        let (at, room) = if wrapped { (0, next & mask) } else { (begin & mask, next.wrapping_sub(begin)) };
        if room > mask + 1 || room < 8 + len {
            return Ok(None);
        }
        let block = self.data.wrapping_add(at);
        if self.space.u64(block)? != id {
            return Ok(None);
        }
        let bytes = self.space.bytes(block.wrapping_add(8), len as usize)?;
        Ok(Some(text_of(&bytes)))
    }
}

#[cfg(test)]
mod tests;
