//! The kernel of a guest whose registers nobody tells: QEMU's monitor is dead, or all there is is a file of
//! RAM.
//!
//! One look at the seams between pages serves two ways. `VMCOREINFO` begins pages. And on x86-64 the last
//! entry of every process's top table leads to the kernel's image, by tables that lie in that image
//! themselves (arch/x86/kernel/head_64.S): memory that says so of itself is hardly anything else. On arm64
//! the image's header is looked for first ([`super::aarch64`]).

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::aarch64::aarch64_quick;
use super::scan::{Seam, seams};
use super::x86_64::image_by;
use super::{Aarch64Kernel, FindError, ImageRun, aarch64, aarch64_from};
use crate::arch::{Paging, X86Paging};
use crate::vmcoreinfo::{Copies, Spots, VmcoreInfo, agrees};
use crate::{AddressSpace, PAGE_SIZE, Recorder};

/// `__START_KERNEL_map`.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Present, and neither large nor user's alone: what an entry for a kernel's table has (`_KERNPG_TABLE`,
/// `_PAGE_TABLE`), the accessed and dirty bits aside.
const TABLE_BITS: u64 = 0b1000_0011;
const TABLE: u64 = 0b0000_0011;
/// Tables that top tables lead to: as many kernels, and as many pages that only look like it.
const MAX_TARGETS: usize = 1 << 16;
/// Of them those that are looked into, the ones that most lead to first.
const MAX_TRIALS: usize = 256;
/// Pages that are looked at in any case: those of 256 MiB.
const ENOUGH: u64 = 64 << 10;
/// Steps of 2 MiB that an image has at least.
const MIN_STEPS: usize = 4;

/// A kernel that was found in memory alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKernel {
    /// An x86-64 one: its tables and its image.
    X86_64(X86Paging, ImageRun),
    /// An arm64 one.
    Aarch64(Box<Aarch64Kernel>),
}

/// A kernel, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unregistered {
    /// The kernel.
    pub kernel: FoundKernel,
    /// Its `VMCOREINFO`, where there is one that agrees with it.
    pub info: Option<VmcoreInfo>,
}

impl Unregistered {
    /// Its page tables.
    pub fn paging(&self) -> Paging {
        match &self.kernel {
            FoundKernel::X86_64(paging, _) => Paging::X86_64(*paging),
            FoundKernel::Aarch64(kernel) => Paging::Aarch64(kernel.paging),
        }
    }

    /// Its image.
    pub fn image(&self) -> &ImageRun {
        match &self.kernel {
            FoundKernel::X86_64(_, image) => image,
            FoundKernel::Aarch64(kernel) => &kernel.image,
        }
    }
}

/// Finds the kernels in memory, the likeliest first. More than one is there after a kexec.
///
/// # Errors
/// [`FindError::NoImage`] if there is none.
pub fn without_registers(memory: &Recorder<'_>) -> Result<Vec<Unregistered>, FindError> {
    if let Some(kernel) = aarch64_quick(memory) {
        let kernel = FoundKernel::Aarch64(Box::new(kernel));
        return Ok(vec![Unregistered { kernel, info: None }]);
    }
    let (mut spots, mut tops, mut pages) = (Spots::default(), Tops::default(), 0u64);
    let mut found = Vec::new();
    let looked = seams(memory, |it| {
        spots.see(it);
        tops.see(it);
        pages += 1;
        // A guest of many gigabytes is not looked through for a second kernel.
        if pages.is_multiple_of(ENOUGH) && !spots.is_empty() {
            found = by_infos(memory, &spots);
        }
        if found.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if found.is_empty() {
        found = by_infos(memory, &spots);
    }
    let tried = tops.targets.len().min(MAX_TRIALS);
    for (paging, image) in tops.kernels(memory) {
        if !found.iter().any(|it| it.image().phys == image.phys) {
            found.push(Unregistered { kernel: FoundKernel::X86_64(paging, image), info: None });
        }
    }
    if found.is_empty()
        && let Ok(kernel) = aarch64(memory, &[])
    {
        found.push(Unregistered { kernel: FoundKernel::Aarch64(Box::new(kernel)), info: None });
    }
    match looked {
        Err(error) if found.is_empty() => Err(error.into()),
        _ if found.is_empty() => Err(FindError::NoImage { tried }),
        _ => Ok(found),
    }
}

fn by_infos(memory: &Recorder<'_>, spots: &Spots) -> Vec<Unregistered> {
    let infos = spots.read(memory).unwrap_or_default();
    infos.iter().filter_map(|it| by_info(memory, it)).collect()
}

/// The kernel that a text is of, if its tables and its memory agree with it.
fn by_info(memory: &Recorder<'_>, copies: &Copies) -> Option<Unregistered> {
    let info = &copies.info;
    let kernel = match info.number("phys_base") {
        Some(base) => {
            let (paging, image) = x86_64_by_info(memory, info, base)?;
            FoundKernel::X86_64(paging, image)
        }
        None => FoundKernel::Aarch64(Box::new(aarch64_from(memory, &[], info).ok()?)),
    };
    let found = Unregistered { kernel, info: Some(info.clone()) };
    let space = AddressSpace::new(memory, found.paging());
    agrees(&space, info).is_ok_and(|it| it.is_good()).then_some(found)
}

/// The tables are a symbol of the image, and `phys_base` (commit 401721ecd1dc, v4.10) says where that lies.
fn x86_64_by_info(memory: &Recorder<'_>, info: &VmcoreInfo, base: i64) -> Option<(X86Paging, ImageRun)> {
    let top = info.symbol("init_top_pgt").or_else(|| info.symbol("swapper_pg_dir"))?;
    let root = top.wrapping_sub(START_KERNEL_MAP).wrapping_add_signed(base);
    let five_levels = info.number("pgtable_l5_enabled") == Some(1);
    let paging = X86Paging { root, five_levels };
    let (steps, image) = image_by(memory, paging)?;
    (root % PAGE_SIZE == 0 && steps >= MIN_STEPS).then_some((paging, image))
}

/// Pages that may be top tables, by the table that their last entry leads to.
#[derive(Debug, Default)]
struct Tops {
    targets: HashMap<u64, Target>,
}

#[derive(Debug, Default)]
struct Target {
    /// How many pages lead to it.
    count: u32,
    /// Some of them.
    roots: Vec<u64>,
}

impl Tops {
    const MAX_ROOTS: usize = 8;

    fn see(&mut self, seam: &Seam) {
        let [.., a, b, c, d, e, f, g, h] = seam.tail;
        let last = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let full = self.targets.len() >= MAX_TARGETS;
        if last & TABLE_BITS != TABLE || last & ADDRESS == 0 || last >> 63 != 0 {
            return;
        }
        if full && !self.targets.contains_key(&(last & ADDRESS)) {
            return;
        }
        let target = self.targets.entry(last & ADDRESS).or_default();
        target.count += 1;
        if target.roots.len() < Self::MAX_ROOTS {
            target.roots.push(seam.phys - PAGE_SIZE);
        }
    }

    /// Kernels whose image holds the very tables that map it; those with the most processes first.
    fn kernels(&self, memory: &Recorder<'_>) -> Vec<(X86Paging, ImageRun)> {
        let mut targets: Vec<_> = self.targets.iter().collect();
        targets.sort_by_key(|(at, it)| (std::cmp::Reverse(it.count), **at));
        let mut found: Vec<(X86Paging, ImageRun)> = Vec::new();
        for (target, Target { roots, .. }) in targets.into_iter().take(MAX_TRIALS) {
            for five_levels in [false, true] {
                let Some(first) = roots.first() else { continue };
                let paging = X86Paging { root: *first, five_levels };
                let Some((steps, image)) = image_by(memory, paging) else { continue };
                let inside = |phys: u64| phys >= image.phys && phys - image.phys < image.len;
                if steps < MIN_STEPS || !inside(*target) || found.iter().any(|it| it.1.phys == image.phys) {
                    continue;
                }
                let root = best_root(memory, roots, *target, &image).unwrap_or(*first);
                found.push((X86Paging { root, five_levels }, image));
            }
        }
        found
    }
}

/// The kernel's own top table, which lies in the image, or whichever has the most entries in the kernel's
/// half: the user's half of isolated tables has few.
fn best_root(memory: &Recorder<'_>, roots: &[u64], target: u64, image: &ImageRun) -> Option<u64> {
    let own = (image.phys..image.phys.saturating_add(image.len)).step_by(PAGE_SIZE as usize);
    let own = own.filter(|root| {
        let mut last = [0; 8];
        let read = memory.scan(root + PAGE_SIZE - 8, &mut last);
        read.is_ok() && u64::from_le_bytes(last) & ADDRESS == target
    });
    let all = own.chain(roots.iter().copied());
    let counted = all.filter_map(|root| {
        let mut half = [0; 2048];
        memory.scan(root + 2048, &mut half).ok()?;
        let present = half.as_chunks::<8>().0.iter().filter(|it| it[0] & 1 != 0).count();
        let inside = root >= image.phys && root - image.phys < image.len;
        Some((present, inside, root))
    });
    counted.max_by_key(|it| (it.0, it.1)).map(|it| it.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    /// Where a kernel's image begins, and its tables in it.
    struct Places {
        image: u64,
        five_levels: bool,
    }

    impl Places {
        const LEN: u64 = 10 << 20;

        fn top(&self) -> u64 {
            self.image + 0x80_0000
        }

        /// A whole kernel: tables in the image, and processes whose tables share them.
        fn write(&self, memory: &TestMemory, processes: &[u64]) {
            let (fourth, third, second) = (self.top() + 0x1000, self.top() + 0x2000, self.top() + 0x3000);
            let below = if self.five_levels { fourth } else { third };
            for root in processes.iter().chain([&self.top()]) {
                memory.write_u64(root + 511 * 8, below | 0x67);
                memory.write_u64(root + 300 * 8, 0x9063);
            }
            memory.write_u64(fourth + 511 * 8, third | 0x67);
            memory.write_u64(third + 510 * 8, second | 0x63);
            for step in 0..Self::LEN / (2 << 20) {
                memory.write_u64(second + (8 + step) * 8, (self.image + (step << 21)) | 0xe3);
            }
        }

        fn virt(&self, phys: u64) -> u64 {
            phys - self.image + 0xffff_ffff_8100_0000
        }

        fn info(&self, release: &str) -> String {
            let base = i64::try_from(self.image).unwrap() - 0x0100_0000;
            let own = format!(
                "NUMBER(phys_base)={base}\nNUMBER(pgtable_l5_enabled)={}\n",
                u8::from(self.five_levels)
            );
            crate::vmcoreinfo::tests::text(&own)
                .replace("6.12.1-test", release)
                .replace("ffffffff81600000", &format!("{:x}", self.virt(self.image + 0x20_0000)))
                .replace("ffffffff81400000", &format!("{:x}", self.virt(self.top())))
        }

        fn write_release(&self, memory: &TestMemory, release: &str) {
            memory.write(self.image + 0x20_0000, b"Linux");
            memory.write(self.image + 0x20_0000 + 130, release.as_bytes());
        }
    }

    #[test]
    fn tables_that_lie_in_the_image_they_map_are_the_kernels() {
        for five_levels in [false, true] {
            let memory = TestMemory::new(0x0200_0000);
            let kernel = Places { image: 0x0080_0000, five_levels };
            kernel.write(&memory, &[0x10_0000, 0x10_2000]);
            // Tables that map an image they do not lie in, and ends of pages that lead nowhere.
            memory.write_u64(0x20_0ff8, 0x20_1067);
            memory.write_u64(0x20_1000 + 510 * 8, 0x20_2063);
            for step in 0..8 {
                memory.write_u64(0x20_2000 + step * 8, (0x0080_0000 + (step << 21)) | 0xe3);
            }
            memory.write_u64(0x30_0ff8, 0x0100_0000_0067);
            let found = without_registers(&Recorder::new(&memory)).unwrap();
            let paging = X86Paging { root: kernel.top(), five_levels };
            let image = ImageRun::new(0xffff_ffff_8100_0000, kernel.image, Places::LEN);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].paging(), Paging::X86_64(paging));
            assert_eq!((found[0].image().virt, found[0].image().phys), (image.virt, image.phys));
            assert_eq!(found[0].image().len, image.len);
        }
    }

    #[test]
    fn of_two_kernels_the_one_whose_text_agrees_goes_first() {
        let memory = TestMemory::new(0x0400_0000);
        let old = Places { image: 0x0080_0000, five_levels: false };
        let new = Places { image: 0x0200_0000, five_levels: false };
        old.write(&memory, &[0x10_0000, 0x10_2000, 0x10_4000]);
        new.write(&memory, &[0x20_0000]);
        memory.write(0x40_0000, old.info("6.1.0-old").as_bytes());
        memory.write(0x50_0000, new.info("6.1.0-new").as_bytes());
        new.write_release(&memory, "6.1.0-new");
        let found = without_registers(&Recorder::new(&memory)).unwrap();
        let releases: Vec<_> = found.iter().map(|it| it.info.as_ref()?.release()).collect();
        assert_eq!(releases, [Some("6.1.0-new"), None]);
        assert_eq!(found[0].image().phys, new.image);
        assert_eq!(found[1].image().phys, old.image);
    }

    #[test]
    fn memory_without_a_kernel_is_an_error() {
        let memory = TestMemory::new(0x0010_0000);
        memory.write_u64(0x1ff8, 0x2063);
        let found = without_registers(&Recorder::new(&memory));
        assert!(matches!(found, Err(FindError::NoImage { tried: 1 })));
    }
}
