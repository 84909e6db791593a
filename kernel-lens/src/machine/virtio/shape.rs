//! A split ring told by its shape, where no type describes it: before v5.11 a module has no BTF, and
//! distributions build `virtio_ring` as one.
//!
//! Behind the `virtqueue` comes, in v5.4 and v5.10 (`drivers/virtio/virtio_ring.c`):
//!
//! ```text
//! bool packed_ring, use_dma_api, weak_barriers, broken, indirect, event;
//! unsigned int free_head, num_added;  u16 last_used_idx;
//! struct { unsigned int num; desc *; avail *; used *; } vring;
//! u16 avail_flags_shadow, avail_idx_shadow;  desc_state *;  dma_addr_t queue_dma_addr;
//! ```
//!
//! It is believed where three pointers stand to each other as the specification says (virtio 1.2, 2.7), and
//! the address that the device was told leads where the first of them does.

use super::super::object::Object;
use super::ring::{Layout, MAX_SIZE, Ring};
use crate::ReadError;

/// Bytes behind the `virtqueue` that are looked at.
const LOOKED_AT: usize = 192;
/// Bytes of one entry of the notes: token and indirect table.
const NOTE: u64 = 16;

pub(super) fn read(queue: Object<'_, '_>) -> Result<Ring, ReadError> {
    let wrong = || ReadError::Inconsistent { what: "vring_virtqueue", virt: queue.at };
    let start = queue.at.wrapping_add(queue.kernel.types.size("virtqueue").ok_or_else(wrong)?);
    let bytes = queue.kernel.space.bytes(start, LOOKED_AT)?;
    let (ring, dma) = find(&bytes).ok_or_else(wrong)?;
    // Behind an IOMMU they differ, and nothing shows that the shape is not chance.
    if queue.kernel.space.phys(ring.desc)? != dma {
        return Err(wrong());
    }
    Ok(ring)
}

/// The ring in what follows a `virtqueue`, and the address that its device was told.
fn find(bytes: &[u8]) -> Option<(Ring, u64)> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let flags = bytes.get(..6)?;
    // A packed ring has another shape.
    if flags.iter().any(|it| *it > 1) || flags.first() != Some(&0) {
        return None;
    }
    (16..bytes.len()).step_by(8).find_map(|at| {
        let size = u32::try_from(word(at)? & u64::from(u32::MAX)).ok()?;
        let (desc, avail, used) = (word(at + 8)?, word(at + 16)?, word(at + 24)?);
        if !size.is_power_of_two() || size > MAX_SIZE || desc % 16 != 0 || desc >> 63 == 0 {
            return None;
        }
        let avail_end = avail.checked_add(6 + 2 * u64::from(size))?;
        let fits = desc.checked_add(16 * u64::from(size)) == Some(avail)
            && used % 4 == 0
            && (avail_end..avail_end.checked_add(1 << 16)?).contains(&used);
        let dma = word(at + 48)?;
        fits.then_some(())?;
        Some((
            Ring {
                layout: Layout::Split,
                size,
                desc,
                driver: avail,
                device: used,
                dma: Some(dma),
                notes: word(at + 40)?,
                note_size: NOTE,
                last_used: u32::from(half(at.checked_sub(8)?)?),
                next_avail: 0,
                num_added: u32::from(half(at.checked_sub(12)?)?),
                broken: flags.get(3) == Some(&1),
            },
            dma,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members behind a `virtqueue` of v5.10, with a ring of 128 whose third index was just taken.
    fn v5_10() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 1, 1, 0, 0];
        for half in [5u16, 0, 7, 0, 3, 0, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        let desc = 0xffff_8880_0010_0000u64;
        for word in [128, desc, desc + 2048, desc + 4096, 4 << 16, 0xffff_8880_0020_0000, 0x10_0000] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(LOOKED_AT, 0xff);
        bytes
    }

    #[test]
    fn a_ring_is_found_where_its_pointers_fit_each_other() {
        let (ring, dma) = find(&v5_10()).unwrap();
        assert_eq!((ring.size, ring.last_used, ring.num_added, dma), (128, 3, 7, 0x10_0000));
        assert_eq!((ring.driver - ring.desc, ring.device - ring.desc, ring.broken), (2048, 4096, false));
        assert_eq!(ring.notes, 0xffff_8880_0020_0000);
    }

    #[test]
    fn nothing_is_found_where_they_do_not() {
        for spoiled in [0usize, 24, 33, 41, 50] {
            let mut bytes = v5_10();
            bytes[spoiled] = bytes[spoiled].wrapping_add(3);
            assert_eq!(find(&bytes), None, "byte {spoiled}");
        }
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[0; 40]), None);
    }
}
