//! Registers that x86-64 saves on its stacks.

use super::frame::{BadFrame, UserEntry};
use super::stacks::{Path, Stack, words};
use crate::AddressSpace;

/// Bytes of `struct pt_regs`; the same since v2.6. With FRED (v6.9) the selectors' words hold more.
pub(super) const PT_REGS: u64 = 21 * 8;
/// Bytes of `struct inactive_task_frame` (v4.9, commit 0100301bfdf5): `r15 r14 r13 r12 bx bp ret_addr`.
pub(super) const INACTIVE_FRAME: u64 = 7 * 8;
/// `TOP_OF_KERNEL_STACK_PADDING`: none, or with FRED two words.
const PADDINGS: [u64; 2] = [0, 16];

/// `struct pt_regs`.
#[derive(Debug, Clone, Copy)]
pub(super) struct X86PtRegs {
    /// Where it lies.
    pub(super) at: u64,
    words: [u64; 21],
}

impl X86PtRegs {
    pub(super) fn read(path: &Path<'_, '_>, at: u64) -> Result<Self, BadFrame> {
        Ok(Self { at, words: path.words(at)? })
    }

    /// Those that user space left at the top of a task's stack, if it did.
    pub(super) fn at_top(space: &AddressSpace<'_>, stack: Stack) -> Option<Self> {
        PADDINGS.into_iter().find_map(|padding| {
            let at = stack.end.checked_sub(padding + PT_REGS).filter(|it| *it >= stack.low)?;
            let regs = Self { at, words: words(space, at).ok()? };
            let plausible = regs.is_user() && regs.words[20] & 3 == 3 && regs.ip() != 0;
            plausible.then_some(regs)
        })
    }

    pub(super) fn ip(&self) -> u64 {
        self.words[16]
    }

    pub(super) fn sp(&self) -> u64 {
        self.words[19]
    }

    pub(super) fn bp(&self) -> u64 {
        self.words[4]
    }

    pub(super) fn r10(&self) -> u64 {
        self.words[7]
    }

    pub(super) fn r13(&self) -> u64 {
        self.words[2]
    }

    pub(super) fn ax(&self) -> u64 {
        self.words[10]
    }

    pub(super) fn dx(&self) -> u64 {
        self.words[12]
    }

    pub(super) fn di(&self) -> u64 {
        self.words[14]
    }

    /// Whether they are user space's.
    pub(super) fn is_user(&self) -> bool {
        self.words[17] & 3 == 3
    }

    pub(super) fn user_entry(&self) -> UserEntry {
        UserEntry { pt_regs: Some(self.at), ip: self.ip(), sp: self.sp(), fp: self.bp() }
    }
}
