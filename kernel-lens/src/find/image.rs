//! The kernel's image in memory, and its own page tables once its symbols are known.

use std::ops::Range;

use crate::arch::Paging;
use crate::{AddressSpace, PAGE_SIZE, ReadError, Recorder, Symbols};

/// The kernel's image: one run of guest-virtual addresses on one run of guest-physical ones.
///
/// Parts of it may be unmapped: with page-table isolation the kernel takes its freed parts out (commit
/// c40a56a7818c, v4.19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRun {
    /// Guest-virtual address of its first byte; on x86-64 that of `_text`.
    pub virt: u64,
    /// Guest-physical address of the same byte.
    pub phys: u64,
    /// Bytes.
    pub len: u64,
    /// Guest-virtual addresses that are neither written nor executed, where a search begins; empty if that
    /// is not known.
    pub constants: Range<u64>,
}

impl ImageRun {
    /// A run of which no more is known.
    pub fn new(virt: u64, phys: u64, len: u64) -> Self {
        Self { virt, phys, len, constants: virt..virt }
    }

    /// The first address behind it.
    pub fn end(&self) -> u64 {
        self.virt.saturating_add(self.len)
    }

    /// Whether a guest-virtual address lies in it.
    pub fn contains(&self, virt: u64) -> bool {
        self.virt <= virt && virt < self.end()
    }

    /// Looks at a part of it past the record; what cannot be read is zeros. Behind its end there is nothing.
    ///
    /// # Errors
    /// Only [`ReadError::Exhausted`].
    pub(crate) fn scan(&self, memory: &Recorder<'_>, virt: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let inside = virt.checked_sub(self.virt).filter(|it| *it < self.len);
        let len = inside.map_or(0, |it| (self.len - it).min(buf.len() as u64)) as usize;
        let (found, behind) = buf.split_at_mut(len);
        behind.fill(0);
        let phys = self.phys.wrapping_add(inside.unwrap_or(0));
        match memory.scan(phys, found) {
            Ok(()) => return Ok(()),
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            Err(_) => {}
        }
        // A minicore has only some of the pages.
        let mut done = 0;
        while done < found.len() {
            let at = phys.wrapping_add(done as u64);
            let len = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(found.len() - done);
            let part = &mut found[done..done + len];
            match memory.scan(at, part) {
                Ok(()) => {}
                Err(error @ ReadError::Exhausted { .. }) => return Err(error),
                Err(_) => part.fill(0),
            }
            done += len;
        }
        Ok(())
    }
}

/// Names of the kernel's own top table: x86 since commit 65ade2f872b4 (v4.13), x86 before, arm64.
const ROOTS: [&str; 3] = ["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"];

/// Page tables that belong to no process: those of the task that happened to run vanish with it.
///
/// `None` if the symbols name no table, or one that does not lead to the image.
pub fn kernel_root(space: &AddressSpace<'_>, image: &ImageRun, symbols: &Symbols) -> Option<Paging> {
    ROOTS.iter().filter_map(|it| symbols.address(it)).find_map(|virt| {
        let root = space.phys(virt).ok()?;
        let paging = space.paging().with_root(root);
        let leads = paging.translate(space.memory(), image.virt).ok()??.phys == image.phys;
        (root % PAGE_SIZE == 0 && leads).then_some(paging)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::X86Paging;
    use crate::memory::test_memory::TestMemory;

    #[test]
    fn what_cannot_be_read_looks_like_zeros() {
        let memory = TestMemory::new(0x3000);
        memory.write(0x2000, &[7; 0x1000]);
        let recorder = Recorder::new(&memory);
        let run = ImageRun::new(0x10_0000, 0x2000, 0x1800);
        let mut seen = [9; 0x1000];
        run.scan(&recorder, 0x10_0800, &mut seen).unwrap();
        assert_eq!((seen[0], seen[0x7ff], seen[0x800], seen[0xfff]), (7, 7, 0, 0));
        run.scan(&recorder, 0x10_1800, &mut seen).unwrap();
        assert_eq!(seen, [0; 0x1000]);
        assert!(recorder.recorded().is_empty());
    }

    #[test]
    fn the_kernels_own_tables_are_taken_only_if_they_lead_to_the_image() {
        let memory = TestMemory::new(0x0080_0000);
        // A process's tables at 0x1000; the kernel's own, in its image, at 0x20_5000.
        for root in [0x1000, 0x20_5000] {
            memory.write_u64(root + 511 * 8, 0x2003);
        }
        memory.write_u64(0x2000 + 510 * 8, 0x3003);
        memory.write_u64(0x3000 + 8 * 8, 0x0020_00e3);
        let recorder = Recorder::new(&memory);
        let paging = Paging::X86_64(X86Paging { root: 0x1000, five_levels: false });
        let space = AddressSpace::new(&recorder, paging);
        let image = ImageRun::new(0xffff_ffff_8100_0000, 0x20_0000, 2 << 20);
        let own = |address| {
            let symbols = Symbols::new([(address, b'D', "init_top_pgt")]);
            kernel_root(&space, &image, &symbols)
        };
        assert_eq!(own(image.virt + 0x5000), Some(paging.with_root(0x20_5000)));
        assert_eq!(own(image.virt + 0x6000), None);
        assert_eq!(own(0), None);
        assert_eq!(kernel_root(&space, &image, &Symbols::default()), None);
    }
}
