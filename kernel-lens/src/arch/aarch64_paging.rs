//! Page tables of arm64's kernel half: Arm ARM, chapter D8 (VMSAv8-64).

use serde::{Deserialize, Serialize};

use super::{Mapping, entry};
use crate::{ReadError, Recorder};

const VALID: u64 = 1;
/// At all levels but the last a table, at the last one a page; clear means a block.
const TABLE: u64 = 2;
/// Access from exception level 0.
const USER: u64 = 1 << 6;

/// The size of a page and of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl Granule {
    /// All of them, the most usual first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K64, Self::K16];

    /// log2 of the page's size.
    pub fn shift(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }
}

/// A root of arm64 page tables (TTBR1 or a process's TTBR0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aarch64Paging {
    /// Guest-physical address of the top table.
    pub root: u64,
    /// Size of a page.
    pub granule: Granule,
    /// Bits of an address that the tables look at (64 - T1SZ).
    pub virt_bits: u32,
    /// Descriptors carry 52-bit addresses (LPA, LPA2), whose top bits lie elsewhere.
    pub phys_52: bool,
}

impl Aarch64Paging {
    /// Follows the tables for one address; `None` if it is not mapped or not of a half.
    pub(super) fn translate(&self, memory: &Recorder<'_>, virt: u64) -> Result<Option<Mapping>, ReadError> {
        let page = self.granule.shift();
        let stride = page - 3;
        let top = virt.checked_shr(self.virt_bits).unwrap_or(0);
        let ones = u64::MAX.checked_shr(self.virt_bits).unwrap_or(0);
        if (top != 0 && top != ones) || self.virt_bits <= page || self.virt_bits > 52 {
            return Ok(None);
        }
        let levels = (self.virt_bits - page).div_ceil(stride);
        let mut table = self.root;
        for above in (0..levels).rev() {
            let shift = page + stride * above;
            let bits = stride.min(self.virt_bits - shift);
            let found = entry(memory, table, (virt >> shift) & ((1 << bits) - 1))?;
            if found & VALID == 0 {
                return Ok(None);
            }
            let (size, next) = (1u64 << shift, self.address(found));
            match (above, found & TABLE != 0) {
                (0, false) => return Ok(None),
                (0, true) | (_, false) => {
                    let phys = (next & !(size - 1)) | (virt & (size - 1));
                    return Ok(Some(Mapping { phys, size, user: found & USER != 0 }));
                }
                (_, true) => table = next,
            }
        }
        Ok(None)
    }

    /// The address in a descriptor. With 52 bits the top ones lie in 15:12 (64K) or 9:8 (LPA2).
    pub(crate) fn address(&self, descriptor: u64) -> u64 {
        let mask = |high: u32, low: u32| (u64::MAX >> (63 - high)) & (u64::MAX << low);
        let page = self.granule.shift();
        match (self.phys_52, self.granule) {
            (false, _) => descriptor & mask(47, page),
            (true, Granule::K64) => (descriptor & mask(47, 16)) | ((descriptor & mask(15, 12)) << 36),
            (true, _) => (descriptor & mask(49, page)) | ((descriptor & mask(9, 8)) << 42),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn pages_and_blocks_of_a_48_bit_kernel_are_followed() {
        let memory = TestMemory::new(0x10000);
        // 0xffff_8000_0020_3456: indices 256, 0, 1, 3 of a 4 KiB granule.
        memory.write_u64(0x1000 + 256 * 8, 0x2003);
        memory.write_u64(0x2000, 0x3003);
        memory.write_u64(0x3000 + 8, 0x4003);
        memory.write_u64(0x3000 + 2 * 8, 0x0040_0701);
        memory.write_u64(0x4000 + 3 * 8, (0x78 << 48) | 0x5703);
        let recorder = Recorder::new(&memory);
        let paging = Aarch64Paging { root: 0x1000, granule: Granule::K4, virt_bits: 48, phys_52: false };
        let at = |virt| paging.translate(&recorder, virt).unwrap().map(|it| (it.phys, it.size));
        assert_eq!(at(0xffff_8000_0020_3456), Some((0x5456, 4096)));
        assert_eq!(at(0xffff_8000_0041_2345), Some((0x0041_2345, 2 << 20)));
        assert_eq!(at(0xffff_8000_0020_4456), None);
        assert_eq!(at(0x1234_8000_0020_3456), None);
    }

    #[test]
    fn the_top_bits_of_a_52_bit_address_come_from_below() {
        let lpa2 = Aarch64Paging { root: 0, granule: Granule::K4, virt_bits: 52, phys_52: true };
        assert_eq!(lpa2.address(0x0003_0000_0000_5303), 0x000f_0000_0000_5000);
        let lpa = Aarch64Paging { granule: Granule::K64, ..lpa2 };
        assert_eq!(lpa.address(0x0000_8000_0001_a003), 0x000a_8000_0001_0000);
    }

    #[test]
    fn sizes_that_no_machine_has_map_nothing() {
        let memory = TestMemory::new(0x10000);
        let recorder = Recorder::new(&memory);
        for virt_bits in [0, 12, 53, 64, 200] {
            let paging = Aarch64Paging { root: 0, granule: Granule::K4, virt_bits, phys_52: false };
            assert_eq!(paging.translate(&recorder, u64::MAX).unwrap(), None);
        }
    }
}
