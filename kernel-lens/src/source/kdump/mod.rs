//! kdump-compressed dumps: what `makedumpfile` writes and `dump-guest-memory -z|-l|-s` of QEMU.
//!
//! Layout in blocks of `block_size` (makedumpfile diskdump_mod.h; QEMU include/sysemu/dump.h): header,
//! sub-header with the places of VMCOREINFO and notes, two bitmaps of pages (RAM; in the dump), page
//! descriptors of the pages in the dump, in order, and their data: as it is, or packed by zlib, LZO, snappy
//! or zstd. QEMU, and `makedumpfile -F`, write it as a stream ([`flattened`]).
//!
//! Pages that the writer left out (zero pages too, with `-d 1`) are not kept.

mod bitmap;
mod flattened;
mod header;
mod unpack;

use std::sync::Mutex;

use super::bytes::{ReadAt, u32_at, u64_at};
use super::segments::range_at;
use super::{Format, OpenError, Opened, notes};
use crate::{PhysRange, PhysicalMemory, ReadError, Registers};
use bitmap::Bitmap;
use header::Header;

pub(super) use flattened::{Flattened, SIGNATURE as FLATTENED};
pub(super) use header::SIGNATURES;

/// Bytes of a page descriptor.
const DESCRIPTOR: u64 = 24;
/// Bytes of notes at most.
const MAX_NOTES: u64 = 32 << 20;
/// Bytes of VMCOREINFO at most.
const MAX_VMCOREINFO: u64 = 64 << 10;

fn damaged(what: &'static str) -> OpenError {
    OpenError::Damaged { format: "kdump-compressed dump", what }
}

/// Opens a dump that begins with one of [`SIGNATURES`].
pub(super) fn open(file: Box<dyn ReadAt>) -> Result<Opened, OpenError> {
    let header = Header::read(file.as_ref())?;
    let part = |(at, len): (u64, u64), max: u64| {
        let bytes = file.bytes(at, len.min(max) as usize).map_err(OpenError::io("the notes"))?;
        Ok::<_, OpenError>(Some(bytes).filter(|it| !it.is_empty()))
    };
    let bytes = part(header.notes, MAX_NOTES)?.unwrap_or_default();
    let notes = notes::read(&bytes);
    let vmcoreinfo = part(header.vmcoreinfo, MAX_VMCOREINFO)?;
    let vmcoreinfo = vmcoreinfo.or_else(|| notes.vmcoreinfo.map(<[u8]>::to_vec));
    let arch = notes.cpus.first().map(|it| match it.registers {
        Registers::X86_64(_) => crate::Arch::X86_64,
        Registers::Aarch64(_) => crate::Arch::Aarch64,
    });
    let arch = arch.or(header.arch);
    let cpus = notes.cpus;

    let bitmap = |at| Bitmap::read(file.as_ref(), at, header.bitmap_len, header.pages);
    let ranges = bitmap(header.bitmaps_at)?.ranges(header.block_size)?;
    let dumped = bitmap(header.bitmaps_at + header.bitmap_len)?;
    let memory = Kdump { file, header, ranges, dumped, last: Mutex::new(None) };
    Ok(Opened { memory: Box::new(memory), cpus, vmcoreinfo, arch, format: Format::Kdump })
}

struct Kdump {
    file: Box<dyn ReadAt>,
    header: Header,
    ranges: Vec<PhysRange>,
    dumped: Bitmap,
    /// The block that was unpacked last: reads of pages are smaller than blocks of arm64 dumps (64 KiB).
    last: Mutex<Option<(u64, Vec<u8>)>>,
}

impl Kdump {
    /// The content of a block.
    fn block(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        let phys = number * self.header.block_size;
        let rank = self.dumped.rank(number).ok_or(ReadError::NotKept { phys })?;
        let failed = |source| ReadError::Source { phys, source };
        let odd = |what: &'static str| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        let at = rank.checked_mul(DESCRIPTOR).and_then(|it| it.checked_add(self.header.descriptors_at));
        let at = at.ok_or_else(|| odd("its descriptor lies nowhere"))?;
        let entry = self.file.bytes(at, DESCRIPTOR as usize).map_err(failed)?;
        let (Some(offset), Some(len), Some(flags)) =
            (u64_at(&entry, 0), u32_at(&entry, 8), u32_at(&entry, 12))
        else {
            return Err(ReadError::NotKept { phys });
        };
        if len == 0 || u64::from(len) > self.header.block_size {
            return Err(odd("its size in the dump makes no sense"));
        }
        let packed = self.file.bytes(offset, len as usize).map_err(failed)?;
        if packed.len() < len as usize {
            return Err(ReadError::NotKept { phys });
        }
        unpack::unpack(packed, flags, self.header.block_size as usize).map_err(odd)
    }
}

impl PhysicalMemory for Kdump {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|it| !it.is_empty()) {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            if range_at(&self.ranges, at).is_none() {
                return Err(ReadError::NotRam { phys: at });
            }
            let (number, inside) = (at / self.header.block_size, (at % self.header.block_size) as usize);
            if last.as_ref().is_none_or(|it| it.0 != number) {
                *last = Some((number, self.block(number)?));
            }
            let Some(found) = last.as_ref().and_then(|it| it.1.get(inside..)) else { break };
            let len = found.len().min(rest.len());
            for (place, byte) in rest.iter_mut().zip(found) {
                *place = *byte;
            }
            done += len;
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        let run = self.dumped.run_from(from / self.header.block_size)?;
        let (start, end) = (run.start * self.header.block_size, run.end * self.header.block_size);
        Some(PhysRange { start: start.max(from), end })
    }
}

#[cfg(test)]
mod tests;
