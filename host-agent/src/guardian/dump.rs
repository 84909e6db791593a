//! Registers and VMCOREINFO out of the notes of a one-page dump (ELF core that QEMU wrote).
//!
//! x86: a `QEMU` note for each vCPU (`QEMUX86CPUState`, QEMU `target/i386/arch_dump.c`: general
//! registers, segments, CR0-4, kernel GS base from size 440 on), whatever class of ELF QEMU chose (32-bit
//! while the guest is not in long mode). aarch64: `CORE`/1 (`aarch64_user_regs` at offset 112 of the
//! note). The dump passes through QEMU but holds guest values: the reader is total.

use crate::transport::rsp::{Register, VcpuRegisters};

/// What the notes held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// Registers, in QEMU's order of vCPUs.
    pub vcpus: Vec<VcpuRegisters>,
    /// The guest kernel's VMCOREINFO, where the device was there and the guest filled it.
    pub vmcoreinfo: Option<Vec<u8>>,
}

/// Why a dump could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// No little-endian ELF core.
    #[error("the dump is no little-endian ELF file")]
    NotElf,
    /// It ends too early.
    #[error("the dump is cut off")]
    Cut,
    /// No registers in it.
    #[error("the dump has no registers that are understood")]
    NoRegisters,
}

const MAX_NOTES: usize = 64 << 10;
const EM_AARCH64: u64 = 183;

/// Reads a dump.
///
/// # Errors
/// [`DumpError`].
pub fn read(elf: &[u8]) -> Result<Notes, DumpError> {
    let wide = match elf.get(..6) {
        Some([0x7f, b'E', b'L', b'F', class @ (1 | 2), 1]) => *class == 2,
        _ => return Err(DumpError::NotElf),
    };
    let at = |offset, size| number(elf, offset, size).ok_or(DumpError::Cut);
    let machine = at(18, 2)?;
    let (table, entry, count) =
        if wide { (at(32, 8)?, at(54, 2)?, at(56, 2)?) } else { (at(28, 4)?, at(42, 2)?, at(44, 2)?) };
    let mut notes = Notes::default();
    for index in 0..count {
        let base = index.checked_mul(entry).and_then(|o| o.checked_add(table)).ok_or(DumpError::Cut)?;
        const PT_NOTE: u64 = 4;
        if at(base, 4)? != PT_NOTE {
            continue;
        }
        let (offset, size) = if wide {
            (at(base.saturating_add(8), 8)?, at(base.saturating_add(32), 8)?)
        } else {
            (at(base.saturating_add(4), 4)?, at(base.saturating_add(16), 4)?)
        };
        let part = slice(elf, offset, size).ok_or(DumpError::Cut)?;
        read_notes(part, machine == EM_AARCH64, &mut notes);
    }
    if notes.vcpus.is_empty() {
        return Err(DumpError::NoRegisters);
    }
    Ok(notes)
}

fn read_notes(mut part: &[u8], aarch64: bool, notes: &mut Notes) {
    for _ in 0..MAX_NOTES {
        let header = (number(part, 0, 4), number(part, 4, 4), number(part, 8, 4));
        let (Some(name_size), Some(size), Some(kind)) = header else {
            return;
        };
        let padded = |n: u64| n.next_multiple_of(4);
        let Some(name) = slice(part, 12, name_size) else {
            return;
        };
        let Some(body) = slice(part, 12 + padded(name_size), size) else {
            return;
        };
        let index = notes.vcpus.len();
        let registers = match (name.strip_suffix(&[0]).unwrap_or(name), kind) {
            (b"QEMU", 0) => x86(body),
            (b"CORE", 1) if aarch64 => arm(body),
            (b"VMCOREINFO", _) => {
                notes.vmcoreinfo = Some(body.to_vec());
                None
            }
            _ => None,
        };
        if let Some(registers) = registers {
            notes.vcpus.push(VcpuRegisters { index, registers });
        }
        let next = 12 + padded(name_size) + padded(size);
        part = usize::try_from(next).ok().and_then(|n| part.get(n..)).unwrap_or_default();
    }
}

fn x86(body: &[u8]) -> Option<Vec<Register>> {
    const GENERAL: [&str; 18] = [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15", "rip", "eflags",
    ];
    const SEGMENTS: [&str; 10] = ["cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt"];
    let size = number(body, 4, 4)?;
    let mut out = Vec::new();
    for (name, offset) in GENERAL.iter().zip((8u64..).step_by(8)) {
        out.push(Register::of(name, number(body, offset, 8)?));
    }
    for (name, offset) in SEGMENTS.iter().zip((152u64..).step_by(24)) {
        out.push(Register::of(name, number(body, offset, 4)?));
        out.push(Register::of(&format!("{name}_base"), number(body, offset + 16, 8)?));
    }
    for (name, offset) in ["cr0", "cr1", "cr2", "cr3", "cr4"].iter().zip((392u64..).step_by(8)) {
        out.push(Register::of(name, number(body, offset, 8)?));
    }
    if size >= 440 {
        out.push(Register::of("k_gs_base", number(body, 432, 8)?));
    }
    Some(out)
}

fn arm(body: &[u8]) -> Option<Vec<Register>> {
    let at = |index: u64| number(body, 112 + index * 8, 8);
    let mut out = Vec::new();
    for index in 0..31 {
        out.push(Register::of(&format!("x{index}"), at(index)?));
    }
    out.push(Register::of("sp", at(31)?));
    out.push(Register::of("pc", at(32)?));
    out.push(Register::of("cpsr", at(33)?));
    Some(out)
}

fn slice(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let from = usize::try_from(offset).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(size).ok()?)?)
}

fn number(bytes: &[u8], offset: u64, size: u64) -> Option<u64> {
    let part = slice(bytes, offset, size)?;
    Some(part.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_dump_is_said_to_be_none() {
        assert_eq!(read(b"\x7fELF"), Err(DumpError::NotElf));
        let mut empty = vec![0; 64];
        empty[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(read(&empty), Err(DumpError::NoRegisters));
        assert_eq!(read(&empty[..30]), Err(DumpError::Cut));
    }

    proptest! {
        #[test]
        fn any_bytes_behind_an_elf_head_are_read_without_a_panic(wide in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut elf = b"\x7fELF\x01\x01".to_vec();
            elf[4] += u8::from(wide);
            elf.extend_from_slice(&bytes);
            let _ = read(&elf);
            let mut notes = Notes::default();
            read_notes(&bytes, wide, &mut notes);
        }
    }
}
