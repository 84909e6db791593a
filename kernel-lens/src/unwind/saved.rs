//! The registers that the scheduler saved of a task that does not run: what a debugger starts from.

use super::stacks::{Stack, words};
use super::{Unwinder, x86_regs};

/// Registers that a function must leave as they were; the others are lost when a task gives up its CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedRegisters {
    /// `struct inactive_task_frame`, and where the stack pointer is behind it.
    X86_64 {
        /// Where it goes on.
        rip: u64,
        /// Stack pointer.
        rsp: u64,
        /// Frame pointer, or whatever the function keeps in it.
        rbp: u64,
        /// `rbx`.
        rbx: u64,
        /// `r12` to `r15`.
        r12_to_r15: [u64; 4],
    },
    /// `struct cpu_context`.
    Aarch64 {
        /// Where it goes on.
        pc: u64,
        /// Stack pointer.
        sp: u64,
        /// `x19` to `x28`, then the frame pointer `x29`.
        x19_to_x29: [u64; 11],
    },
}

impl Unwinder<'_, '_> {
    /// What was saved of a task, by the address of its `task_struct`. Of one that runs it is what was saved
    /// when it last gave up its CPU.
    pub fn saved_registers(&self, task: u64) -> Option<SavedRegisters> {
        if !self.x86 {
            let saved: [u64; 13] = words(self.space, task.checked_add(self.layout.cpu_context?)?).ok()?;
            let [x19_to_x29 @ .., sp, pc] = saved;
            return Some(SavedRegisters::Aarch64 { pc, sp, x19_to_x29 });
        }
        let [at] = words(self.space, task.checked_add(self.layout.thread_sp?)?).ok()?;
        let own = Stack::new(self.stack_of(task)?, self.thread_size)?;
        if !own.holds(at, x86_regs::INACTIVE_FRAME) || !at.is_multiple_of(8) {
            return None;
        }
        let [r15, r14, r13, r12, rbx, rbp, rip] = words(self.space, at).ok()?;
        let rsp = at + x86_regs::INACTIVE_FRAME;
        Some(SavedRegisters::X86_64 { rip, rsp, rbp, rbx, r12_to_r15: [r12, r13, r14, r15] })
    }
}
