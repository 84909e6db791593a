//! The kernel of an x86-64 guest, from nothing but its vCPUs' registers.
//!
//! Whatever runs, its page tables map the kernel's image somewhere in the gigabyte from `__START_KERNEL_map`
//! up (Documentation/arch/x86/x86_64/mm.rst): one table of 512 entries of 2 MiB each. The longest run there
//! that is contiguous in guest-physical memory is the image.

use std::collections::HashSet;

use super::{FindError, ImageRun};
use crate::arch::{Paging, X86Paging};
use crate::{Cpu, ReadError, Recorder, Registers, X86Registers};

/// `__START_KERNEL_map`: with KASLR the image lies anywhere in this gigabyte.
const WINDOW: u64 = 0xffff_ffff_8000_0000;
const STEP: u64 = 2 << 20;
const STEPS: usize = 512;
/// Steps in the midst of an image that are not mapped: its freed init sections.
const MAX_GAP: usize = 16;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Page-table isolation keeps a process's user tables 4 KiB above its kernel tables
/// (`PTI_PGTABLE_SWITCH_BIT`); without it the bit is a plain bit of the address, so both are tried.
const ISOLATED: u64 = 0x1000;

/// A kernel that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X86Kernel {
    /// Page tables that lead to it: those of a task that ran (see [`super::kernel_root`]).
    pub paging: X86Paging,
    /// Its image.
    pub image: ImageRun,
    /// Handler of interrupt gate 0, if the table of interrupts is known and leads into the image. Its name
    /// is `asm_exc_divide_error`, up to v5.7 `divide_error`.
    pub divide_error: Option<u64>,
}

/// What an entry of the window's table maps.
#[derive(Debug, Clone, Copy)]
struct Step {
    phys: u64,
    /// Neither written nor executed.
    constant: bool,
}

/// Finds the kernel that the vCPUs run.
///
/// # Errors
/// [`FindError`]; a table that cannot be read is one that does not lead to a kernel.
pub fn x86_64(memory: &Recorder<'_>, cpus: &[Cpu]) -> Result<X86Kernel, FindError> {
    let registers = || {
        cpus.iter().filter_map(|it| match &it.registers {
            Registers::X86_64(it) => Some(it),
            Registers::Aarch64(_) => None,
        })
    };
    if registers().next().is_none() {
        return Err(FindError::NoRegisters);
    }
    let mut roots = HashSet::new();
    let mut tables = HashSet::new();
    let mut best: Option<((bool, usize), X86Kernel)> = None;
    for cpu in registers() {
        let five_levels = cpu.has_five_levels();
        for root in [cpu.cr3 & ADDRESS, cpu.cr3 & ADDRESS & !ISOLATED] {
            if !roots.insert((root, five_levels)) {
                continue;
            }
            let paging = X86Paging { root, five_levels };
            // Every process's tables share the one that maps the image.
            let table = window(memory, paging).ok().flatten();
            let Some(table) = table.filter(|it| tables.insert(*it)) else { continue };
            let Ok(Some((mapped, image))) = longest_run(memory, table) else { continue };
            let divide_error = divide_error(memory, paging, cpu).filter(|it| image.contains(*it));
            let rank = (divide_error.is_some(), mapped);
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = Some((rank, X86Kernel { paging, image, divide_error }));
            }
        }
    }
    best.map(|(_, it)| it).ok_or(FindError::NoImage { tried: roots.len() })
}

/// The image that page tables lead to, and how many of its steps of 2 MiB are mapped.
pub(super) fn image_by(memory: &Recorder<'_>, paging: X86Paging) -> Option<(usize, ImageRun)> {
    let table = window(memory, paging).ok().flatten()?;
    longest_run(memory, table).ok().flatten()
}

/// Guest-physical address of the table whose entries map the window.
fn window(memory: &Recorder<'_>, paging: X86Paging) -> Result<Option<u64>, ReadError> {
    let mut table = paging.root;
    let indices = [511, 511, 510];
    for index in &indices[usize::from(!paging.five_levels)..] {
        let entry = entry(memory, table, *index)?;
        if entry & PRESENT == 0 || entry & LARGE != 0 {
            return Ok(None);
        }
        table = entry & ADDRESS;
    }
    Ok(Some(table))
}

fn entry(memory: &Recorder<'_>, table: u64, index: u64) -> Result<u64, ReadError> {
    let mut bytes = [0; 8];
    memory.read(table + index * 8, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The longest run and how many of its steps are mapped.
fn longest_run(memory: &Recorder<'_>, table: u64) -> Result<Option<(usize, ImageRun)>, ReadError> {
    let mut steps = [None; STEPS];
    for (index, step) in (0..).zip(&mut steps) {
        *step = read_step(memory, entry(memory, table, index)?);
    }
    // From the first step, the last one, the mapped ones, and where the window's start would lie.
    let mut runs: Vec<(usize, usize, usize, u64)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(step) = step else { continue };
        let origin = step.phys.wrapping_sub(index as u64 * STEP);
        match runs.last_mut() {
            Some((_, last, mapped, of)) if *of == origin && index - *last <= MAX_GAP => {
                (*last, *mapped) = (index, *mapped + 1);
            }
            _ => runs.push((index, index, 1, origin)),
        }
    }
    let Some((first, last, mapped, origin)) = runs.into_iter().rev().max_by_key(|it| it.2) else {
        return Ok(None);
    };
    let virt = |index: usize| WINDOW + index as u64 * STEP;
    let phys = origin.wrapping_add(first as u64 * STEP);
    let mut image = ImageRun::new(virt(first), phys, (last + 1 - first) as u64 * STEP);
    let mut constants = 0..0;
    let mut from = first;
    for (index, step) in steps.iter().enumerate().take(last + 1).skip(first) {
        if step.is_none_or(|it| !it.constant) {
            from = index + 1;
        }
        if index + 1 - from > constants.len() {
            constants = from..index + 1;
        }
    }
    image.constants = virt(constants.start)..virt(constants.end);
    Ok(Some((mapped, image)))
}

/// A large page, or the first page of a table of small ones: the kernel splits large pages where their
/// parts have different rights.
fn read_step(memory: &Recorder<'_>, found: u64) -> Option<Step> {
    if found & PRESENT == 0 {
        return None;
    }
    let constant = |entry: u64| entry & WRITABLE == 0 && entry & NO_EXECUTE != 0;
    if found & LARGE != 0 {
        return Some(Step { phys: found & ADDRESS & !(STEP - 1), constant: constant(found) });
    }
    for index in 0..512 {
        let small = entry(memory, found & ADDRESS, index).ok()?;
        if small & PRESENT != 0 {
            let phys = (small & ADDRESS).checked_sub(index * 4096)?;
            return (phys % STEP == 0).then_some(Step { phys, constant: constant(small) });
        }
    }
    None
}

/// Gate 0 of the table of interrupts: Intel SDM volume 3, chapter 7.14.1.
fn divide_error(memory: &Recorder<'_>, paging: X86Paging, cpu: &X86Registers) -> Option<u64> {
    let at = Paging::X86_64(paging).translate(memory, cpu.idt_base?).ok()??.phys;
    let mut gate = [0; 16];
    memory.read(at, &mut gate).ok()?;
    let [a, b, _, _, _, _, c, d, e, f, g, h, ..] = gate;
    Some(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::test_memory::TestMemory;

    const IDT: u64 = 0xffff_ffff_8820_0000;

    fn memory() -> TestMemory {
        TestMemory::new(0x0200_0000)
    }

    /// Tables at `root` whose window maps steps, each to its guest-physical address.
    fn tables(memory: &TestMemory, root: u64, steps: &[(u64, u64)]) {
        memory.write_u64(root + 511 * 8, root + 0x1_0003);
        memory.write_u64(root + 0x1_0000 + 510 * 8, root + 0x2_0003);
        for (step, entry) in steps {
            memory.write_u64(root + 0x2_0000 + step * 8, *entry);
        }
    }

    fn cpu(cr3: u64) -> Cpu {
        let registers = X86Registers { cr3, idt_base: Some(IDT), ..Default::default() };
        Cpu { index: 0, registers: Registers::X86_64(registers) }
    }

    #[test]
    fn the_longest_run_of_any_root_is_the_image() {
        let memory = memory();
        // User tables with the first step only; kernel tables with a gap, constants and a split page.
        tables(&memory, 0x10_1000, &[(65, 0x0080_00e3)]);
        let constant = NO_EXECUTE | 0xe1;
        tables(
            &memory,
            0x10_0000,
            &[
                (3, 0x0140_00e3),
                (65, 0x0080_00e3),
                (66, 0x00a0_0000 | constant),
                (67, 0x00c0_0000 | constant),
                (70, 0x15_0003),
                (90, 0x0140_00e3),
            ],
        );
        memory.write_u64(0x15_0000 + 5 * 8, 0x0120_5003);
        let recorder = Recorder::new(&memory);
        let found = x86_64(&recorder, &[cpu(0x10_1abc)]).unwrap();
        assert_eq!(found.paging, X86Paging { root: 0x10_0000, five_levels: false });
        let image = ImageRun {
            virt: WINDOW + 65 * STEP,
            phys: 0x0080_0000,
            len: 6 * STEP,
            constants: WINDOW + 66 * STEP..WINDOW + 68 * STEP,
        };
        assert_eq!(found.image, image);
        assert_eq!(found.divide_error, None);
    }

    #[test]
    fn tables_whose_gate_0_leads_into_the_image_go_before_longer_ones() {
        let memory = memory();
        tables(&memory, 0x10_0000, &[(8, 0x0080_00e3), (9, 0x00a0_00e3)]);
        tables(&memory, 0x20_0000, &[(65, 0x0080_00e3)]);
        let handler = WINDOW + 65 * STEP + 0x0001_2345;
        let bytes = handler.to_le_bytes();
        memory.write(0x0080_0000, &bytes[..2]);
        memory.write(0x0080_0006, &bytes[2..]);
        let mut cpus = [cpu(0x10_0000), cpu(0x20_0000)];
        for cpu in &mut cpus {
            let Registers::X86_64(it) = &mut cpu.registers else { unreachable!() };
            it.idt_base = Some(WINDOW + 65 * STEP);
        }
        let found = x86_64(&Recorder::new(&memory), &cpus).unwrap();
        assert_eq!((found.paging.root, found.divide_error), (0x20_0000, Some(handler)));
    }

    #[test]
    fn a_fifth_level_is_walked_when_the_vcpu_has_it() {
        let memory = memory();
        tables(&memory, 0x10_0000, &[(8, 0x0080_00e3)]);
        memory.write_u64(0x30_0000 + 511 * 8, 0x10_0003);
        let mut cpu = cpu(0x30_0000);
        let Registers::X86_64(it) = &mut cpu.registers else { unreachable!() };
        it.cr4 = 1 << 12;
        let found = x86_64(&Recorder::new(&memory), &[cpu]).unwrap();
        assert_eq!((found.image.virt, found.paging.five_levels), (WINDOW + 8 * STEP, true));
    }

    #[test]
    fn without_a_kernel_it_says_what_it_tried() {
        let memory = memory();
        let recorder = Recorder::new(&memory);
        assert!(matches!(x86_64(&recorder, &[]), Err(FindError::NoRegisters)));
        let cpus = [cpu(0x10_1000), cpu(u64::MAX), cpu(0x10_1000)];
        assert!(matches!(x86_64(&recorder, &cpus), Err(FindError::NoImage { tried: 4 })));
    }
}
