//! Steps over an x86-64 stack by frame pointers: kernels with `CONFIG_UNWINDER_FRAME_POINTER`
//! (`arch/x86/kernel/unwind_frame.c`).
//!
//! Each frame begins with the caller's frame pointer and the return address. Entry code puts the address of
//! its `pt_regs` into the frame pointer, with bit 0 set (`ENCODE_FRAME_POINTER`). System calls do not: there
//! the frame that lies right under the registers at the top of the stack is the last.

use super::frame::{BadFrame, End, FrameKind, How, RawFrame};
use super::orc_walk::X86State;
use super::stacks::Path;
use super::x86_regs::X86PtRegs;
use super::{Unwinder, entry_kind};
use crate::AddressSpace;

impl X86State {
    /// Goes to the caller: its frame, or the end.
    pub(super) fn frame_pointer_step(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        path: &mut Path<'_, '_>,
        task: Option<u64>,
    ) -> Result<RawFrame, End> {
        // First: a user's frame pointer may be odd too.
        if let Some(user) = last_frame(unwinder.space, path, path.sp()) {
            return Err(End::User(user.user_entry()));
        }
        if self.bp & 1 != 0 {
            return self.encoded_registers(unwinder, path);
        }
        if self.bp == 0 {
            return Err(End::Outermost);
        }
        // An interrupted function may not have made its frame yet.
        let early = (self.exact && unwinder.code.holds(self.ip))
            .then(|| not_framed(unwinder, self.ip))
            .flatten()
            .map(|pushed| path.sp().wrapping_add(pushed));
        let slot = early.unwrap_or(self.bp.wrapping_add(8));
        let mut how = How::FramePointer;
        let mut ip = path.word(slot).map_err(End::Bad)?;
        let bp = if early.is_some() { self.bp } else { path.word(self.bp).map_err(End::Bad)? };
        if let Some(true_ip) = unwinder.hooks.recover(unwinder.space, unwinder.symbols, task, ip, slot) {
            (ip, how) = (true_ip, How::Hook);
        }
        if ip == 0 {
            return Err(End::Outermost);
        }
        path.go(slot.wrapping_add(8)).map_err(End::Bad)?;
        if !unwinder.code.holds(ip) {
            return Err(End::Bad(BadFrame::NotCode(ip)));
        }
        *self = Self { ip, bp, exact: false, scratch: None };
        Ok(RawFrame { address: ip, sp: path.sp(), kind: FrameKind::Call, how })
    }

    fn encoded_registers(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        path: &mut Path<'_, '_>,
    ) -> Result<RawFrame, End> {
        let regs = X86PtRegs::read(path, self.bp & !1).map_err(End::Bad)?;
        if regs.is_user() {
            return Err(End::User(regs.user_entry()));
        }
        // What a new kernel thread finds at the top of its stack (`copy_thread`).
        if regs.ip() == 0 {
            return Err(End::Kthread);
        }
        let before = self.ip;
        path.go(regs.sp()).map_err(End::Bad)?;
        *self = Self::from(&regs);
        let kind = entry_kind(unwinder.symbols, before);
        Ok(RawFrame { address: self.ip, sp: path.sp(), kind, how: How::Registers })
    }
}

/// The registers that user space left, if the frame that ends at `sp` is right under them: the compiler may
/// have aligned the first frame by a word (`is_last_aligned_frame`).
fn last_frame(space: &AddressSpace<'_>, path: &Path<'_, '_>, sp: u64) -> Option<X86PtRegs> {
    let regs = X86PtRegs::at_top(space, path.own()?)?;
    (sp <= regs.at && regs.at - sp <= 8).then_some(regs)
}

/// Bytes that a function has pushed, if it did not yet make its frame: `endbr64`, the tracer's five bytes,
/// `push %rbp`, `mov %rsp,%rbp`.
fn not_framed(unwinder: &Unwinder<'_, '_>, ip: u64) -> Option<u64> {
    let start = unwinder.symbols.at(ip)?.address;
    let done = usize::try_from(ip - start).ok()?;
    if done > 16 {
        return None;
    }
    let mut bytes = [0; 16];
    unwinder.space.read(start, &mut bytes).ok()?;
    let mut at = 0;
    if bytes.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
        at = 4;
    }
    if bytes[at] == 0xe8 || bytes[at..].starts_with(&[0x0f, 0x1f, 0x44, 0, 0]) {
        at += 5;
    }
    let makes_frame = bytes[at..].starts_with(&[0x55, 0x48, 0x89, 0xe5]);
    match (makes_frame, done) {
        (true, done) if done <= at => Some(0),
        (true, done) if done < at + 4 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::UserEntry;
    use super::super::test_kernel::TestKernel;
    use super::super::x86_regs::PT_REGS;
    use super::super::{Layout, Start};
    use super::*;
    use crate::Symbols;

    const STACK: u64 = 0x10000;
    const CODE: u64 = 0x20000;

    fn symbols() -> Symbols {
        Symbols::new([
            (CODE, b'T', "_stext"),
            (CODE + 0x100, b'T', "asm_sysvec_apic_timer_interrupt"),
            (CODE + 0x200, b'T', "works"),
            (CODE + 0x1000, b'T', "_etext"),
        ])
    }

    fn unwind(kernel: &TestKernel, ip: u64, sp: u64, bp: u64) -> super::super::Unwound {
        let symbols = symbols();
        let layout = Layout { thread_size: Some(0x4000), ..Default::default() };
        kernel.with(|space| {
            let unwinder = Unwinder::with(space, &symbols, layout, &[]);
            unwinder.follow(Start::x86(ip, sp, bp), Some(STACK), None)
        })
    }

    #[test]
    fn a_system_call_ends_under_the_registers_of_user_space() {
        let kernel = TestKernel::new();
        let regs = STACK + 0x4000 - PT_REGS;
        kernel.write(STACK + 0x3000, &[regs - 16, CODE + 0x310]);
        kernel.write(regs - 16, &[0x7fff_dead, CODE + 0x20]);
        kernel.write(regs + 16 * 8, &[0x40_1000, 0x33, 0x246, 0x7fff_0000, 0x2b]);
        let unwound = unwind(&kernel, CODE + 0x300, STACK + 0x2f00, STACK + 0x3000);
        let addresses: Vec<_> = unwound.frames.iter().map(|it| it.address - CODE).collect();
        assert_eq!(addresses, [0x300, 0x310, 0x20]);
        let user = UserEntry { pt_regs: Some(regs), ip: 0x40_1000, sp: 0x7fff_0000, fp: 0 };
        assert_eq!(unwound.end, End::User(user));
    }

    #[test]
    fn encoded_registers_lead_through_an_interrupt_to_the_start_of_a_kernel_thread() {
        let kernel = TestKernel::new();
        let (inner, outer) = (STACK + 0x3000, STACK + 0x4000 - PT_REGS);
        kernel.write(STACK + 0x2e00, &[inner | 1, CODE + 0x110]);
        // Interrupted after `push %rbp`, where the return address is one word up.
        kernel.write_bytes(CODE + 0x200, &[0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xe5]);
        kernel.write(inner + 4 * 8, &[STACK + 0x3200]);
        kernel.write(inner + 16 * 8, &[CODE + 0x206, 0x10, 0x246, STACK + 0x3100, 0x18]);
        kernel.write(STACK + 0x3100, &[STACK + 0x3200, CODE + 0x400]);
        kernel.write(STACK + 0x3200, &[outer | 1, CODE + 0x500]);
        let unwound = unwind(&kernel, CODE + 0x300, STACK + 0x2d00, STACK + 0x2e00);
        let seen: Vec<_> = unwound.frames.iter().map(|it| (it.address - CODE, it.kind)).collect();
        let call = FrameKind::Call;
        let through = [(0x206, FrameKind::Interrupt), (0x400, call), (0x500, call)];
        assert_eq!(seen, [&[(0x300, FrameKind::Running), (0x110, call)], &through[..]].concat());
        assert_eq!(unwound.end, End::Kthread);
    }

    #[test]
    fn a_loop_and_an_address_outside_end_as_bad_frames() {
        let kernel = TestKernel::new();
        kernel.write(STACK + 0x2e00, &[STACK + 0x2e00, CODE + 0x110]);
        let unwound = unwind(&kernel, CODE + 0x300, STACK + 0x2d00, STACK + 0x2e00);
        assert_eq!(unwound.end, End::Bad(BadFrame::NotRising(STACK + 0x2e10)));
        let unwound = unwind(&kernel, CODE + 0x300, STACK + 0x2d00, 0x4_0000);
        assert_eq!(unwound.end, End::Bad(BadFrame::OutsideStack(0x4_0008)));
    }
}
