//! Memory with one mapped stretch, for tests of walks.

pub(crate) mod space {
    use crate::arch::{Paging, X86Paging};
    use crate::memory::test_memory::TestMemory;
    use crate::{AddressSpace, Recorder};

    /// Guest-physical address of the stretch.
    pub(crate) const PHYS: u64 = 0x8000;
    const VIRT: u64 = 0xffff_8880_0000_0000;

    /// Maps 64 KiB from [`PHYS`] on; gives their guest-virtual address.
    pub(crate) fn map(memory: &TestMemory) -> u64 {
        let index = |level: u32| (VIRT >> (12 + 9 * level)) & 511;
        memory.write_u64(0x1000 + index(3) * 8, 0x2003);
        memory.write_u64(0x2000 + index(2) * 8, 0x3003);
        memory.write_u64(0x3000 + index(1) * 8, 0x4003);
        for page in 0..16 {
            memory.write_u64(0x4000 + page * 8, (PHYS + page * 0x1000) | 3);
        }
        VIRT
    }

    pub(crate) fn of<'m>(recorder: &'m Recorder<'m>) -> AddressSpace<'m> {
        AddressSpace::new(recorder, Paging::X86_64(X86Paging { root: 0x1000, five_levels: false }))
    }
}
