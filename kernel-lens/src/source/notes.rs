//! The notes of a core: registers by CPU, VMCOREINFO, and the notes of QEMU and of our own.
//!
//! * `CORE`/NT_PRSTATUS: `struct elf_prstatus` (include/linux/elfcore.h): `pr_pid` at 32, `pr_reg` at 112;
//!   336 bytes on x86-64 (27 registers, `struct user_regs_struct`), 392 on arm64 (x0..x30, sp, pc, pstate).
//! * `QEMU`/0, x86 only: `QEMUCPUState` (QEMU target/i386/arch_dump.c): version, size, 18 registers, ten
//!   segments of 24 bytes, `cr[5]` at 392, `kernel_gs_base` at 432 where the size has room for it.
//! * `VMCOREINFO`/0: lines of text.
//! * `VMWARD`/1: see [`super::ward_note`].

use super::bytes::{u16_at, u32_at, u64_at};
use crate::{Aarch64Registers, Cpu, Registers, X86Registers};

/// CPUs taken at most.
const MAX_CPUS: usize = 4096;
/// Bytes of VMCOREINFO at most: kernels reserve a page, later ones a few.
const MAX_VMCOREINFO: usize = 64 << 10;
/// Type of a note with a process's status.
pub(crate) const NT_PRSTATUS: u32 = 1;
/// Bytes of the status of an x86-64 CPU.
pub(crate) const X86_STATUS: usize = 336;
/// Bytes of the status of an arm64 CPU.
pub(crate) const ARM_STATUS: usize = 392;
/// Where `pr_reg` begins.
pub(crate) const REGISTERS_AT: usize = 112;

/// What the notes said.
#[derive(Debug, Default)]
pub(super) struct Notes<'a> {
    pub(super) cpus: Vec<Cpu>,
    pub(super) vmcoreinfo: Option<&'a [u8]>,
    pub(super) ward: Option<&'a [u8]>,
}

/// One note.
pub(super) struct Note<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: u32,
    pub(super) content: &'a [u8],
}

/// The notes in `bytes`, up to the first that is cut.
pub(super) fn each(mut bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    std::iter::from_fn(move || {
        let name_len = u32_at(bytes, 0)? as usize;
        let len = u32_at(bytes, 4)? as usize;
        let kind = u32_at(bytes, 8)?;
        let name = bytes.get(12..12usize.checked_add(name_len)?)?;
        let at = 12 + name_len.checked_next_multiple_of(4)?;
        let content = bytes.get(at..at.checked_add(len)?)?;
        let end = at.checked_add(len)?.checked_next_multiple_of(4)?;
        bytes = bytes.get(end..).unwrap_or_default();
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        // A name and content of nothing is the padding behind the last note.
        (name_len != 0 || len != 0).then_some(Note { name, kind, content })
    })
}

/// Reads them all.
pub(super) fn read(bytes: &[u8]) -> Notes<'_> {
    let mut notes = Notes::default();
    let mut pids = Vec::new();
    let mut states = Vec::new();
    for note in each(bytes) {
        match (note.name, note.kind) {
            (b"CORE", NT_PRSTATUS) if pids.len() < MAX_CPUS => {
                if let Some((pid, registers)) = status(note.content) {
                    notes.cpus.push(Cpu { index: pids.len() as u32, registers });
                    pids.push(pid);
                }
            }
            (b"QEMU", 0) if states.len() < MAX_CPUS => states.push(note.content),
            (b"VMCOREINFO", 0) if notes.vmcoreinfo.is_none() => {
                let text = note.content.get(..note.content.len().min(MAX_VMCOREINFO)).unwrap_or_default();
                notes.vmcoreinfo = Some(text);
            }
            (b"VMWARD", 1) if notes.ward.is_none() => notes.ward = Some(note.content),
            _ => {}
        }
    }
    // QEMU writes both in the order of its CPUs and counts the status from one.
    for ((cpu, pid), state) in notes.cpus.iter_mut().zip(pids).zip(states) {
        cpu.index = pid.checked_sub(1).unwrap_or(cpu.index);
        if let Registers::X86_64(registers) = &mut cpu.registers {
            qemu_state(state, registers);
        }
    }
    notes
}

/// `pr_pid` and the registers of a status.
fn status(content: &[u8]) -> Option<(u32, Registers)> {
    let pid = u32_at(content, 32)?;
    let word = |index: usize| u64_at(content, REGISTERS_AT + index * 8);
    let registers = match content.len() {
        X86_STATUS => {
            // rax rbx rcx rdx rsi rdi rbp rsp r8 .. r15, by their places in user_regs_struct.
            const PLACES: [usize; 16] = [10, 5, 11, 12, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0];
            let mut general = [0; 16];
            for (register, place) in general.iter_mut().zip(PLACES) {
                *register = word(place)?;
            }
            Registers::X86_64(X86Registers {
                general,
                rip: word(16)?,
                cs: u16_at(content, REGISTERS_AT + 17 * 8)?,
                rflags: word(18)?,
                gs_base: word(22)?,
                ..X86Registers::default()
            })
        }
        ARM_STATUS => {
            let mut x = [0; 31];
            for (index, register) in x.iter_mut().enumerate() {
                *register = word(index)?;
            }
            let (sp, pc, pstate) = (word(31)?, word(32)?, word(33)?);
            Registers::Aarch64(Aarch64Registers { x, sp, pc, pstate, system: None })
        }
        _ => return None,
    };
    Some((pid, registers))
}

/// What QEMU's own note adds.
fn qemu_state(state: &[u8], registers: &mut X86Registers) {
    const SEGMENTS: usize = 152;
    const BASE: usize = 16;
    let size = u32_at(state, 4).unwrap_or(0) as usize;
    if u32_at(state, 0) != Some(1) || size > state.len() {
        return;
    }
    let word = |at: usize| u64_at(state.get(..size)?, at);
    registers.gs_base = word(SEGMENTS + 4 * 24 + BASE).unwrap_or(registers.gs_base);
    registers.idt_base = word(SEGMENTS + 9 * 24 + BASE);
    registers.cr2 = word(408).unwrap_or(0);
    registers.cr3 = word(416).unwrap_or(0);
    registers.cr4 = word(424).unwrap_or(0);
    registers.kernel_gs_base = word(432);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::source) fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [name.len() as u32 + 1, content.len() as u32, kind] {
            out.extend(word.to_le_bytes());
        }
        for part in [[name, &[0]].concat().as_slice(), content] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    fn put(bytes: &mut [u8], at: usize, value: u64) {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    #[test]
    fn a_core_of_qemu_tells_what_a_status_cannot() {
        let mut status = vec![0; X86_STATUS];
        status[32] = 4;
        put(&mut status, 112 + 10 * 8, 0xaa);
        put(&mut status, 112 + 19 * 8, 0xbb);
        put(&mut status, 112 + 16 * 8, 0xcc);
        put(&mut status, 112 + 17 * 8, 0x10);
        let mut state = vec![0; 440];
        state[0] = 1;
        state[4..8].copy_from_slice(&440u32.to_le_bytes());
        for (at, value) in [(264, 1), (384, 2), (408, 3), (416, 4), (424, 5), (432, 6)] {
            put(&mut state, at, value);
        }
        let bytes =
            [note(b"CORE", 1, &status), note(b"QEMU", 0, &state), note(b"VMCOREINFO", 0, b"OSRELEASE=6.1\n")]
                .concat();
        let notes = read(&bytes);
        assert_eq!(notes.vmcoreinfo, Some(&b"OSRELEASE=6.1\n"[..]));
        assert_eq!(notes.cpus[0].index, 3);
        let Registers::X86_64(it) = &notes.cpus[0].registers else { panic!("not x86") };
        assert_eq!((it.general[0], it.rsp(), it.rip, it.cs), (0xaa, 0xbb, 0xcc, 0x10));
        assert_eq!((it.gs_base, it.idt_base, it.cr2, it.cr3, it.cr4), (1, Some(2), 3, 4, 5));
        assert_eq!(it.kernel_gs_base, Some(6));
    }

    #[test]
    fn an_arm_status_is_known_by_its_size() {
        let mut status = vec![0; ARM_STATUS];
        put(&mut status, 112 + 30 * 8, 0x30);
        put(&mut status, 112 + 31 * 8, 0x31);
        put(&mut status, 112 + 32 * 8, 0x32);
        put(&mut status, 112 + 33 * 8, 0x33);
        let bytes = note(b"CORE", 1, &status);
        let Registers::Aarch64(it) = &read(&bytes).cpus[0].registers.clone() else { panic!("not arm64") };
        assert_eq!((it.x[30], it.sp, it.pc, it.pstate), (0x30, 0x31, 0x32, 0x33));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 0..900usize) {
            let _ = read(&bytes);
            let good = [note(b"CORE", 1, &bytes), note(b"QEMU", 0, &bytes), note(b"VMWARD", 1, &bytes)].concat();
            let _ = read(&good[..good.len().min(cut)]);
        }
    }
}
