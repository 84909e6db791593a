//! From memory and registers to a kernel whose symbols and types are known.

use crate::arch::Paging;
use crate::btf::Types;
use crate::examine::ExamineError;
use crate::find::{ImageRun, aarch64, kernel_root, without_registers, x86_64};
use crate::{AddressSpace, Arch, Cpu, Kernel, Recorder, Registers, kallsyms};

/// A kernel, and how it was found.
pub struct Opened<'m> {
    /// The kernel.
    pub kernel: Kernel<'m>,
    /// Where its image lies.
    pub image: ImageRun,
    /// It was found by a scan of memory and not by registers.
    pub by_scan: bool,
    /// What is missing of it.
    pub problems: Vec<String>,
}

/// Finds the kernel: by the registers where they lead to one, else by a scan.
///
/// # Errors
/// [`ExamineError`] if there is none, or none whose symbols can be read.
pub fn open<'m>(memory: &'m Recorder<'m>, cpus: &[Cpu]) -> Result<Opened<'m>, ExamineError> {
    let mut problems = Vec::new();
    let (paging, image, divide_error, by_scan) = find(memory, cpus)?;
    let space = AddressSpace::new(memory, paging);
    let symbols = kallsyms::scan(&space, &image, divide_error)?.symbols;
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
    Ok(Opened { kernel: Kernel::new(space, symbols, types, arch), image, by_scan, problems })
}

/// Page tables, image, the handler of interrupt gate 0, and whether it took a scan.
type Place = (Paging, ImageRun, Option<u64>, bool);

fn find(memory: &Recorder<'_>, cpus: &[Cpu]) -> Result<Place, ExamineError> {
    let arm = cpus.iter().any(|it| matches!(it.registers, Registers::Aarch64(_)));
    let by_registers = if arm {
        aarch64(memory, cpus).map(|it| (Paging::Aarch64(it.paging), it.image, None))
    } else {
        x86_64(memory, cpus).map(|it| (Paging::X86_64(it.paging), it.image, it.divide_error))
    };
    let error = match by_registers {
        // Without a stop an arm64 vCPU tells no page tables: they are searched for in memory.
        Ok((paging, image, divide_error)) => return Ok((paging, image, divide_error, arm)),
        Err(error) => error,
    };
    // Registers of firmware or of a half-written dump lead nowhere; memory may still hold a kernel.
    let found = without_registers(memory)?.into_iter().next().ok_or(error)?;
    Ok((found.paging(), found.image().clone(), None, true))
}
