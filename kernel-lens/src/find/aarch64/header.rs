//! The header of arm64's `Image`, at the first byte of the kernel (Documentation/arch/arm64/booting.rst).
//!
//! The boot loader put the kernel on a multiple of 2 MiB (up to v5.7 often 512 KiB behind one); the EFI stub
//! may put it on any multiple of 64 KiB. Since commit e2a073dde921 (v5.11) the kernel gives the 64 KiB of
//! the header back after boot: it usually still stands there, but need not.

use crate::arch::Granule;
use crate::find::scan::populated;
use crate::{ReadError, Recorder};

/// A kernel begins on a multiple of this.
const ALIGN: u64 = 64 << 10;
/// And nearly always on one of this.
const USUAL_ALIGN: u64 = 2 << 20;
const MAGIC_AT: usize = 56;
const MAGIC: [u8; 4] = *b"ARM\x64";
/// An image with all its debugging options has less.
pub(super) const MAX_IMAGE: u64 = 256 << 20;
/// An image has at least its text.
const MIN_IMAGE: u64 = 2 << 20;
/// Headers at most; kernels in the page cache begin at any page, hence rarely on such a multiple.
const MAX_HEADERS: usize = 32;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Guest-physical address of the image.
    pub(crate) phys: u64,
    /// Bytes of the image in memory, with its zeroed part (`_end - _text`).
    pub(crate) len: u64,
    /// Size of a page, since v4.6 (commit 7d7b4ae418728).
    pub(crate) granule: Option<Granule>,
}

/// Reads a header past the record.
pub(super) fn at(memory: &Recorder<'_>, phys: u64) -> Result<Option<Header>, ReadError> {
    let mut bytes = [0; 64];
    match memory.scan(phys, &mut bytes) {
        Ok(()) => Ok(parse(phys, &bytes)),
        Err(error @ (ReadError::Exhausted { .. } | ReadError::Source { .. })) => Err(error),
        Err(_) => Ok(None),
    }
}

fn parse(phys: u64, bytes: &[u8; 64]) -> Option<Header> {
    let word = |at: usize| {
        let [a, b, c, d, e, f, g, h] = *bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    };
    let (len, flags) = (word(16)?, word(24)?);
    // Bit 0 is big-endian; no distribution builds one.
    let sane = bytes[MAGIC_AT..].starts_with(&MAGIC) && (MIN_IMAGE..MAX_IMAGE).contains(&len);
    let granule = match (flags >> 1) & 3 {
        1 => Some(Granule::K4),
        2 => Some(Granule::K16),
        3 => Some(Granule::K64),
        _ => None,
    };
    (sane && flags & 1 == 0).then_some(Header { phys, len, granule })
}

/// Every header in memory: those on the usual multiples, then the others.
pub(super) fn all(memory: &Recorder<'_>, usual: bool) -> Result<Vec<Header>, ReadError> {
    let mut found = Vec::new();
    let step = if usual { USUAL_ALIGN } else { ALIGN };
    for run in populated(memory) {
        let mut phys = run.start.next_multiple_of(step);
        while phys < run.end && found.len() < MAX_HEADERS {
            if usual || !phys.is_multiple_of(USUAL_ALIGN) {
                found.extend(at(memory, phys)?);
            }
            phys += step;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    fn header(len: u64, flags: u64) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        bytes[24..32].copy_from_slice(&flags.to_le_bytes());
        bytes[56..60].copy_from_slice(&MAGIC);
        bytes
    }

    #[test]
    fn headers_are_found_on_both_multiples_and_must_be_sane() {
        let memory = TestMemory::new(8 << 20);
        memory.write(2 << 20, &header(30 << 20, 0xa));
        memory.write(0x0048_0000, &header(30 << 20, 6));
        memory.write(0x0050_0000, &header(1 << 40, 0xa));
        memory.write(0x0060_1000, &header(30 << 20, 0xa));
        memory.write(0x0070_0000, &header(30 << 20, 0xb));
        let recorder = Recorder::new(&memory);
        let of = |usual| -> Vec<_> {
            all(&recorder, usual).unwrap().iter().map(|it| (it.phys, it.granule)).collect()
        };
        assert_eq!(of(true), [(2 << 20, Some(Granule::K4))]);
        assert_eq!(of(false), [(0x0048_0000, Some(Granule::K64))]);
    }
}
