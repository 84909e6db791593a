//! What the driver remembers of a ring: `struct vring_virtqueue` (`drivers/virtio/virtio_ring.c`).
//!
//! The type lies in the BTF of the module `virtio_ring` where that is one. Kernels before v5.11 have no types
//! of modules: then the ring is told by its shape.

use super::super::object::Object;
use super::shape;
use crate::ReadError;

/// Descriptors of a queue at most (virtio 1.2, 2.6: "Maximum value is 32768").
pub(super) const MAX_SIZE: u32 = 1 << 15;

/// How a ring is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Split,
    Packed,
}

/// A ring. Addresses are guest-virtual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) layout: Layout,
    pub(super) size: u32,
    pub(super) desc: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// What the device was told for the descriptors.
    pub(super) dma: Option<u64>,
    /// The driver's notes on each head, and the bytes of one; the token comes first.
    pub(super) notes: u64,
    pub(super) note_size: u64,
    pub(super) last_used: u32,
    /// Of a packed ring only.
    pub(super) next_avail: u16,
    pub(super) num_added: u32,
    pub(super) broken: bool,
}

impl Ring {
    /// Reads the ring around a `virtqueue`.
    pub(super) fn read(queue: Object<'_, '_>) -> Result<Self, ReadError> {
        let ring = if queue.kernel.offset("vring_virtqueue", "split").is_some() {
            Self::by_types(queue)?
        } else {
            shape::read(queue)?
        };
        // Only a packed ring may have any number.
        let fits = (1..=MAX_SIZE).contains(&ring.size)
            && (ring.layout == Layout::Packed || ring.size.is_power_of_two());
        let wild = [ring.desc, ring.driver, ring.device].iter().any(|it| it.checked_add(1 << 20).is_none());
        if !fits || wild {
            return Err(ReadError::Inconsistent { what: "vring_virtqueue", virt: queue.at });
        }
        Ok(ring)
    }

    fn by_types(queue: Object<'_, '_>) -> Result<Self, ReadError> {
        let kernel = queue.kernel;
        let ring = Object::around(kernel, "vring_virtqueue", "vq", queue.at)?;
        let kind = |name| kernel.types.enumerator(name).and_then(|it| u64::try_from(it).ok());
        // A flag until v6.19, then one of four layouts, of which two are packed.
        let packed = match ring.has("packed_ring") {
            true => ring.number("packed_ring")? != 0,
            false => {
                let layout = Some(ring.number("layout")?);
                [kind("VQ_LAYOUT_PACKED"), kind("VQ_LAYOUT_PACKED_IN_ORDER")].contains(&layout)
            }
        };
        let common = Self {
            layout: if packed { Layout::Packed } else { Layout::Split },
            size: 0,
            desc: 0,
            driver: 0,
            device: 0,
            dma: None,
            notes: 0,
            note_size: 0,
            last_used: ring.small("last_used_idx")?,
            next_avail: 0,
            num_added: ring.small("num_added")?,
            broken: ring.number("broken")? != 0,
        };
        let note = |name| kernel.types.size(name).unwrap_or(0);
        Ok(if packed {
            Self {
                size: ring.small("packed.vring.num")?,
                desc: ring.number("packed.vring.desc")?,
                driver: ring.number("packed.vring.driver")?,
                device: ring.number("packed.vring.device")?,
                dma: Some(ring.number("packed.ring_dma_addr")?),
                notes: ring.number("packed.desc_state")?,
                note_size: note("vring_desc_state_packed"),
                next_avail: ring.small("packed.next_avail_idx")? as u16,
                ..common
            }
        } else {
            Self {
                size: ring.small("split.vring.num")?,
                desc: ring.number("split.vring.desc")?,
                driver: ring.number("split.vring.avail")?,
                device: ring.number("split.vring.used")?,
                dma: Some(ring.number("split.queue_dma_addr")?),
                notes: ring.number("split.desc_state")?,
                note_size: note("vring_desc_state_split"),
                ..common
            }
        })
    }
}
