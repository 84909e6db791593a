//! From memory and registers to a kernel whose symbols and types are known.

use crate::arch::Paging;
use crate::btf::Types;
use crate::cache::Entry;
use crate::examine::ExamineError;
use crate::find::{FindError, ImageRun, aarch64_known, kernel_root, without_registers, x86_64};
use crate::kallsyms::{self, Kallsyms, KallsymsAddresses};
use crate::vmcoreinfo::VmcoreInfo;
use crate::{AddressSpace, Arch, Cpu, Kernel, ReadError, Recorder, Registers};

/// A kernel, and how it was found.
pub struct Opened<'m> {
    /// The kernel.
    pub kernel: Kernel<'m>,
    /// Where its image lies.
    pub image: ImageRun,
    /// It was found by a scan of memory and not by registers.
    pub by_scan: bool,
    /// What was learned of it, for the next look; `None` if all of it was known.
    pub learned: Option<Entry>,
    /// What is missing of it.
    pub problems: Vec<String>,
}

/// Finds the kernel: by the registers where they lead to one, else by a scan.
///
/// # Errors
/// [`ExamineError`] if there is none, or none whose symbols can be read.
pub fn open<'m>(memory: &'m Recorder<'m>, cpus: &[Cpu]) -> Result<Opened<'m>, ExamineError> {
    open_known(memory, cpus, &[])
}

/// The same, with what earlier looks learned of kernels ([`crate::cache`]): what fits is not searched for.
///
/// # Errors
/// As [`open`].
pub fn open_known<'m>(
    memory: &'m Recorder<'m>,
    cpus: &[Cpu],
    known: &[Entry],
) -> Result<Opened<'m>, ExamineError> {
    let mut problems = Vec::new();
    let Place { paging, image, by_scan, table, known } = find(memory, cpus, known)?;
    let Kallsyms { symbols, addresses, .. } = table;
    // On arm64 no table maps the header that the image was found by, so that nobody else reads it.
    if let Err(error @ ReadError::Exhausted { .. }) = memory.read(image.phys, &mut [0]) {
        return Err(FindError::Read(error).into());
    }
    let space = AddressSpace::new(memory, paging);
    // Every address space maps the kernel, but only its own maps all of it.
    let paging = kernel_root(&space, &image, &symbols).unwrap_or(paging);
    let space = AddressSpace::new(memory, paging);
    let types = Types::find(&space, &symbols, image.virt..image.end()).unwrap_or_else(|error| {
        problems.push(format!("the kernel's types could not be read, so that its tasks cannot: {error}"));
        Types::none()
    });
    let arch = match paging {
        Paging::X86_64(_) => Arch::X86_64,
        Paging::Aarch64(_) => Arch::Aarch64,
    };
    let kernel = Kernel::new(space, symbols, types, arch);
    let learned = if known { None } else { Entry::of(&kernel, &image, &addresses) };
    Ok(Opened { kernel, image, by_scan, learned, problems })
}

/// A kernel with its symbols.
struct Place {
    paging: Paging,
    image: ImageRun,
    by_scan: bool,
    table: Kallsyms,
    /// The symbols lay where an earlier look found them.
    known: bool,
}

fn find(memory: &Recorder<'_>, cpus: &[Cpu], known: &[Entry]) -> Result<Place, ExamineError> {
    let arm = cpus.iter().any(|it| matches!(it.registers, Registers::Aarch64(_)));
    let of = |image: u64| known.iter().filter(move |it| it.is_of(memory, image));
    let tables = |image: u64| of(image).find_map(|it| Some(it.root?.paging(image)));
    let by_registers = if arm {
        aarch64_known(memory, cpus, &tables).map(|it| (Paging::Aarch64(it.paging), it.image, None))
    } else {
        x86_64(memory, cpus).map(|it| (Paging::X86_64(it.paging), it.image, it.divide_error))
    };
    let read = |paging, image: ImageRun, divide_error, by_scan, told: Option<KallsymsAddresses>| {
        let space = AddressSpace::new(memory, paging);
        let at = |places| kallsyms::at(&space, &image, &places, divide_error).ok();
        let place = |table, known| Place { paging, image: image.clone(), by_scan, table, known };
        if let Some(table) = of(image.phys).find_map(|it| at(it.kallsyms_at(image.virt))) {
            return Ok(place(table, true));
        }
        match told.and_then(at) {
            Some(table) => Ok(place(table, false)),
            None => Ok(place(kallsyms::scan(&space, &image, divide_error)?, false)),
        }
    };
    let error = match by_registers {
        Ok((paging, image, divide_error)) => return read(paging, image, divide_error, arm, None),
        Err(error) => error,
    };
    // Registers of firmware or of a half-written dump lead nowhere; memory may still hold a kernel.
    let mut failed = None;
    for found in without_registers(memory).map_err(|_| error)? {
        let told = found.info.as_ref().and_then(VmcoreInfo::kallsyms);
        match read(found.paging(), found.image().clone(), None, true, told) {
            Ok(place) => return Ok(place),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| FindError::NoImage { tried: 0 }.into()))
}
