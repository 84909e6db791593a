//! `struct elf_prstatus` of one CPU, the other way round of `source/notes.rs`.

use crate::source::{ARM_STATUS, REGISTERS_AT, X86_STATUS};
use crate::{Cpu, Registers};

/// Selectors of the stack segment in the kernel and in user space (arch/x86/include/asm/segment.h,
/// `__KERNEL_DS`, `__USER_DS`): registers are taken without it.
const KERNEL_DS: u64 = 0x18;
const USER_DS: u64 = 0x2b;

/// The status. A CPU is thread `index + 1`, as QEMU counts: debuggers do not take thread 0.
pub(super) fn of(cpu: &Cpu) -> Vec<u8> {
    let (size, words) = match &cpu.registers {
        Registers::X86_64(it) => {
            let [ax, bx, cx, dx, si, di, bp, sp, r8, r9, r10, r11, r12, r13, r14, r15] = it.general;
            let ss = if it.in_user_mode() { USER_DS } else { KERNEL_DS };
            // orig_rax of -1: not in a system call that a debugger would restart.
            let words = vec![
                r15,
                r14,
                r13,
                r12,
                bp,
                bx,
                r11,
                r10,
                r9,
                r8,
                ax,
                cx,
                dx,
                si,
                di,
                u64::MAX,
                it.rip,
                u64::from(it.cs),
                it.rflags,
                sp,
                ss,
                0,
                it.gs_base,
            ];
            (X86_STATUS, words)
        }
        Registers::Aarch64(it) => {
            let mut words = it.x.to_vec();
            words.extend([it.sp, it.pc, it.pstate]);
            (ARM_STATUS, words)
        }
    };
    let mut out = vec![0; REGISTERS_AT];
    if let Some(pid) = out.get_mut(32..36) {
        pid.copy_from_slice(&cpu.index.wrapping_add(1).to_le_bytes());
    }
    out.extend(words.into_iter().flat_map(u64::to_le_bytes));
    out.resize(size, 0);
    out
}
