//! The kernel of an arm64 guest that is not stopped: no transport tells TTBR1 and TCR of a running vCPU.
//!
//! The image lies in one run of guest-physical memory and begins with a header; the kernel's own page tables
//! (`swapper_pg_dir`) lie in it. So every page of the image that may be a top table is tried, with each
//! number of address bits that a kernel of its page size can have: it is the right one if it maps the image
//! at one place and all of RAM at another, and what vCPUs execute in kernel mode is mapped. Where the header
//! has been overwritten, `VMCOREINFO` names the tables; where a debug stub told the system registers, they
//! do.

mod header;
mod image;
mod tables;
#[cfg(test)]
mod tests;
mod trial;

use std::cell::Cell;

use super::{FindError, ImageRun};
use crate::arch::{Aarch64Paging, Granule};
use crate::vmcoreinfo::VmcoreInfo;
use crate::{Aarch64System, Cpu, ReadError, Recorder, Registers};
use header::{Header, MAX_IMAGE};
use tables::BUDGET;
use trial::{Executed, TEXT, Trial};

/// A kernel that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aarch64Kernel {
    /// Its own page tables, or those that the system registers name.
    pub paging: Aarch64Paging,
    /// Its image. The header, in the first 64 KiB, is not mapped (v5.11, commit e2a073dde921).
    pub image: ImageRun,
    /// What is added to the guest-physical address of RAM for its address in the linear map, wrapping;
    /// `None` if these tables have none.
    pub linear: Option<u64>,
    /// Bits of an address that the machine looks at: fewer than the tables have room for where a kernel of
    /// 52 bits runs on a CPU of 48.
    pub virt_bits: u32,
    /// Whether what vCPUs execute in kernel mode lies in it or in what its tables map; `None` if all of them
    /// run user code or no registers were given.
    pub executed: Option<bool>,
}

impl Aarch64Kernel {
    /// `kimage_voffset`: what is added to a guest-physical address of the image for its guest-virtual one.
    pub fn image_offset(&self) -> u64 {
        self.image.virt.wrapping_sub(self.image.phys)
    }

    /// The bits of a kernel pointer that an authentication code may take: set in the pointer itself.
    pub fn code_mask(&self) -> u64 {
        u64::MAX.checked_shl(self.virt_bits).unwrap_or(0)
    }

    /// `PAGE_OFFSET`: where the linear map begins, at the bottom of the half; up to v5.3 (commit
    /// 14c127c957c1) in its middle.
    pub fn linear_start(&self) -> u64 {
        let bottom = self.code_mask();
        let middle = bottom | 1u64.checked_shl(self.virt_bits.wrapping_sub(1)).unwrap_or(0);
        if self.image.virt >= middle { bottom } else { middle }
    }

    /// `PHYS_OFFSET`: the guest-physical address that the linear map would begin with. Randomization may
    /// make it wrap below zero.
    pub fn phys_start(&self) -> Option<u64> {
        Some(self.linear_start().wrapping_sub(self.linear?))
    }
}

/// Finds the kernel that the vCPUs run; registers help, none are needed.
///
/// # Errors
/// [`FindError::NoImage`] if nothing in memory is one. Then [`aarch64_from`] may do.
pub fn aarch64(memory: &Recorder<'_>, cpus: &[Cpu]) -> Result<Aarch64Kernel, FindError> {
    aarch64_known(memory, cpus, &|_| None)
}

/// The same, where it may be known which tables an image at a guest-physical address has: they are tried
/// before all others, and pass the same test.
///
/// # Errors
/// As [`aarch64`].
pub fn aarch64_known(
    memory: &Recorder<'_>,
    cpus: &[Cpu],
    known: &dyn Fn(u64) -> Option<Aarch64Paging>,
) -> Result<Aarch64Kernel, FindError> {
    let executed = Executed::of(cpus);
    let mut tried = 0;
    for system in systems(cpus) {
        tried += 1;
        if let Ok(Some(kernel)) = by_system(memory, system, &executed) {
            return Ok(keep(memory, kernel, &executed));
        }
    }
    let mut best = None;
    for usual in [true, false] {
        best = better(best, by_header(memory, &executed, usual, known, &mut tried));
        // A kernel none of whose code is executed may be the one before a kexec: look on.
        if best.as_ref().is_some_and(|it| it.linear.is_some() && it.executed != Some(false)) {
            break;
        }
    }
    best.map(|it| keep(memory, it, &executed)).ok_or(FindError::NoImage { tried })
}

/// Reads once more, for the record, what says that this is the kernel: whoever has only the record finds the
/// same.
fn keep(memory: &Recorder<'_>, kernel: Aarch64Kernel, executed: &Executed) -> Aarch64Kernel {
    let phys = kernel.image.phys;
    let known = header::at(memory, phys).ok().flatten();
    if known.is_some() {
        let _ = memory.read(phys, &mut [0; 64]);
    }
    let budget = Cell::new(BUDGET);
    let header = known.unwrap_or(Header { phys, len: MAX_IMAGE, granule: Some(kernel.paging.granule) });
    let text = if known.is_some() { phys + TEXT } else { phys };
    let trial = Trial { memory, header, budget: &budget, executed, record: true };
    // A guest that runs may have changed it meanwhile: then what was found first stands.
    trial.kernel(kernel.paging, text).ok().flatten().filter(|it| it.image == kernel.image).unwrap_or(kernel)
}

/// Finds a kernel by a header on the usual multiple: a look that takes next to nothing where there is none.
pub(super) fn aarch64_quick(memory: &Recorder<'_>) -> Option<Aarch64Kernel> {
    let executed = Executed::of(&[]);
    let found = by_header(memory, &executed, true, &|_| None, &mut 0).filter(|it| it.linear.is_some());
    found.map(|it| keep(memory, it, &executed))
}

fn by_header(
    memory: &Recorder<'_>,
    executed: &Executed,
    usual: bool,
    known: &dyn Fn(u64) -> Option<Aarch64Paging>,
    tried: &mut usize,
) -> Option<Aarch64Kernel> {
    let budget = Cell::new(BUDGET);
    let mut best = None;
    for header in header::all(memory, usual).unwrap_or_default() {
        let trial = Trial { memory, header, budget: &budget, executed, record: false };
        let by_known = known(header.phys).and_then(|it| trial.kernel(it, header.phys + TEXT).ok()?);
        let sure = by_known.filter(|it| it.linear.is_some() && it.executed != Some(false));
        best = better(best, sure.or_else(|| trial.best_root(tried).ok()?));
        if best.as_ref().is_some_and(|it| it.linear.is_some() && it.executed == Some(true)) {
            break;
        }
    }
    best
}

/// The better of two; the first one if they are alike.
fn better(one: Option<Aarch64Kernel>, other: Option<Aarch64Kernel>) -> Option<Aarch64Kernel> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if rank(&other) > rank(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn rank(kernel: &Aarch64Kernel) -> (bool, bool) {
    (kernel.executed == Some(true), kernel.linear.is_some())
}

/// Finds the kernel that wrote a `VMCOREINFO`: for an image whose header was overwritten.
///
/// # Errors
/// [`FindError::NoImage`] if the text names no tables that lead to its own image.
pub fn aarch64_from(
    memory: &Recorder<'_>,
    cpus: &[Cpu],
    info: &VmcoreInfo,
) -> Result<Aarch64Kernel, FindError> {
    let executed = Executed::of(cpus);
    let found = by_vmcoreinfo(memory, info, &executed).ok().flatten();
    found.map(|it| keep(memory, it, &executed)).ok_or(FindError::NoImage { tried: 1 })
}

fn by_vmcoreinfo(
    memory: &Recorder<'_>,
    info: &VmcoreInfo,
    executed: &Executed,
) -> Result<Option<Aarch64Kernel>, ReadError> {
    let (Some(offset), Some(root), Some(stext)) =
        (info.bits("kimage_voffset"), info.symbol("swapper_pg_dir"), info.symbol("_stext"))
    else {
        return Ok(None);
    };
    let granule = Granule::ALL.into_iter().find(|it| Some(1 << it.shift()) == info.page_size());
    let Some(granule) = granule else { return Ok(None) };
    // T1SZ as it is set (v5.11, commit bbdbc11804ff) tells the machine's bits, VA_BITS those of the build.
    let built = info.number("VA_BITS").and_then(|it| u32::try_from(it).ok());
    let size = info.number("TCR_EL1_T1SZ").and_then(|it| u32::try_from(64 - it.clamp(0, 64)).ok());
    let text = stext.wrapping_sub(offset);
    let known = header::at(memory, text.wrapping_sub(TEXT))?.filter(|it| it.granule == Some(granule));
    let header = known.unwrap_or(Header { phys: text, len: MAX_IMAGE, granule: Some(granule) });
    let mut best = None;
    let budget = Cell::new(BUDGET);
    for &(virt_bits, phys_52) in tables::trials(granule) {
        // With 64 KiB pages a build of 52 bits has a table of 52, whatever the machine has.
        let told = size == Some(virt_bits) || built == Some(virt_bits);
        if !told && (size.is_some() || built.is_some()) {
            continue;
        }
        let paging = Aarch64Paging { root: root.wrapping_sub(offset), granule, virt_bits, phys_52 };
        let trial = Trial { memory, header, budget: &budget, executed, record: false };
        best = better(best, trial.kernel(paging, text)?.filter(|it| it.image_offset() == offset));
    }
    Ok(best)
}

/// System registers of vCPUs in kernel mode first: in user mode some kernels keep a trampoline in TTBR1.
fn systems(cpus: &[Cpu]) -> Vec<&Aarch64System> {
    let mut all: Vec<_> = cpus
        .iter()
        .filter_map(|it| match &it.registers {
            Registers::Aarch64(it) => Some((it.in_user_mode(), it.system.as_ref()?)),
            Registers::X86_64(_) => None,
        })
        .collect();
    all.sort_by_key(|it| it.0);
    all.into_iter().map(|it| it.1).collect()
}

/// What TCR_EL1 says of the kernel's half: Arm ARM, D17.2.
fn by_system(
    memory: &Recorder<'_>,
    system: &Aarch64System,
    executed: &Executed,
) -> Result<Option<Aarch64Kernel>, ReadError> {
    let granule = match (system.tcr >> 30) & 3 {
        1 => Granule::K16,
        2 => Granule::K4,
        3 => Granule::K64,
        _ => return Ok(None),
    };
    let virt_bits = 64 - ((system.tcr >> 16) & 63) as u32;
    if !(25..=52).contains(&virt_bits) {
        return Ok(None);
    }
    // DS says that descriptors have 52-bit addresses; those of 64 KiB granules always may.
    let phys_52 = granule == Granule::K64 || system.tcr & (1 << 59) != 0;
    // The ASID is above; of a 52-bit address the top lies in bits 5:2.
    let base = system.ttbr1 & 0x0000_ffff_ffff_ffc0;
    let root = if phys_52 { base | ((system.ttbr1 & 0x3c) << 46) } else { base };
    let paging = Aarch64Paging { root, granule, virt_bits, phys_52 };
    image::around(memory, paging, system.vbar, executed)
}
