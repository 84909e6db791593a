//! Page tables of x86-64: Intel SDM volume 3, chapter 4.5.

use super::{Mapping, entry};
use crate::{ReadError, Recorder};

const PRESENT: u64 = 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A root of x86-64 page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct X86Paging {
    /// Guest-physical address of the top table.
    pub root: u64,
    /// Five levels instead of four.
    pub five_levels: bool,
}

impl X86Paging {
    /// Follows the tables for one address; `None` if it is not mapped or not canonical.
    pub(super) fn translate(&self, memory: &Recorder<'_>, virt: u64) -> Result<Option<Mapping>, ReadError> {
        let levels: u32 = if self.five_levels { 5 } else { 4 };
        let unused = 64 - (12 + 9 * levels);
        if ((virt << unused).cast_signed() >> unused).cast_unsigned() != virt {
            return Ok(None);
        }
        let (mut table, mut user) = (self.root & ADDRESS, true);
        for level in (1..=levels).rev() {
            let shift = 12 + 9 * (level - 1);
            let found = entry(memory, table, (virt >> shift) & 511)?;
            if found & PRESENT == 0 {
                return Ok(None);
            }
            user &= found & USER != 0;
            let size = 1u64 << shift;
            if level == 1 || (level <= 3 && found & LARGE != 0) {
                let phys = (found & ADDRESS & !(size - 1)) | (virt & (size - 1));
                return Ok(Some(Mapping { phys, size, user }));
            }
            table = found & ADDRESS;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    /// Tables at 0x1000 and up that map 0xffffffff81000000 by 2 MiB and 0xffffffff81200000 by 4 KiB.
    fn tables() -> TestMemory {
        let memory = TestMemory::new(0x10000);
        memory.write_u64(0x1000 + 511 * 8, 0x2003);
        memory.write_u64(0x2000 + 510 * 8, 0x3003);
        memory.write_u64(0x3000 + 8 * 8, 0x0020_00e3);
        memory.write_u64(0x3000 + 9 * 8, 0x4003);
        memory.write_u64(0x4000 + 3 * 8, (1 << 63) | 0x5003);
        memory
    }

    #[test]
    fn large_and_small_pages_are_followed() {
        let memory = tables();
        let recorder = Recorder::new(&memory);
        let paging = X86Paging { root: 0x1000, five_levels: false };
        let at = |virt| paging.translate(&recorder, virt).unwrap().map(|it| (it.phys, it.size));
        assert_eq!(at(0xffff_ffff_8100_1234), Some((0x0020_1234, 2 << 20)));
        assert_eq!(at(0xffff_ffff_8120_3456), Some((0x5456, 4096)));
        assert_eq!(at(0xffff_ffff_8120_4456), None);
        assert_eq!(at(0x8120_3456), None);
    }

    #[test]
    fn an_address_that_is_not_canonical_is_not_mapped() {
        let memory = tables();
        let recorder = Recorder::new(&memory);
        let paging = X86Paging { root: 0x1000, five_levels: false };
        assert_eq!(paging.translate(&recorder, 0x0000_ffff_8100_1234).unwrap(), None);
    }

    #[test]
    fn a_fifth_level_is_followed() {
        let memory = tables();
        memory.write_u64(0x6000 + 511 * 8, 0x1003);
        let recorder = Recorder::new(&memory);
        let paging = X86Paging { root: 0x6000, five_levels: true };
        let found = paging.translate(&recorder, 0xffff_ffff_8120_3456).unwrap();
        assert_eq!(found, Some(Mapping { phys: 0x5456, size: 4096, user: false }));
    }

    #[test]
    fn a_table_outside_of_memory_is_an_error() {
        let memory = TestMemory::new(0x2000);
        memory.write_u64(0x1000 + 511 * 8, 0x00ff_0003);
        let recorder = Recorder::new(&memory);
        let paging = X86Paging { root: 0x1000, five_levels: false };
        assert!(paging.translate(&recorder, u64::MAX).is_err());
    }
}
