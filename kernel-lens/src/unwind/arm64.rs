//! Steps over an arm64 stack by frame records: `arch/arm64/kernel/stacktrace.c`.
//!
//! A record is `{ x29, x30 }` of the caller; `x29` leads to it. Entry code puts one into `pt_regs`:
//!
//! * since v6.13 (commit c2c6b27b5aa1) it is `{ 0, 0, type }` with type 1 the last and 2 an exception;
//! * before, for exceptions in the kernel it is `{ x29, elr }` of what was interrupted. It is one if the
//!   code is entry code (`el1...`) and the registers around it say the same;
//! * before, for user space, and since v5.14 (commit 7d7b720a4b80) for kernel threads, it is `{ 0, 0 }`.

use super::code::follows_call;
use super::frame::{BadFrame, End, FrameKind, How, RawFrame, UserEntry};
use super::stacks::Path;
use super::{Unwinder, entry_kind};
use crate::arch::Paging;

/// Words of `user_pt_regs`: `x0..x30`, `sp`, `pc`, `pstate`.
const REGS: usize = 34;
/// `add x29, sp, #n` makes a frame, `mov x29, sp` is one with n = 0.
const MAKES_FRAME: (u32, u32) = (0xffc0_03ff, 0x9100_03fd);
/// `ret`, and `autiasp` before it.
const LEAVES: [u32; 2] = [0xd65f_03c0, 0xd503_23bf];
/// Instructions from the start of a function in which it makes its frame.
const PROLOGUE: u64 = 64;

/// Where the walk stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArmState {
    pub(super) pc: u64,
    pub(super) fp: u64,
    /// The link register of code that was interrupted or runs.
    pub(super) lr: Option<u64>,
}

impl ArmState {
    /// Goes to the caller: its frame, or the end.
    pub(super) fn step(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        path: &mut Path<'_, '_>,
        task: Option<u64>,
    ) -> Result<RawFrame, End> {
        if let Some(lr) = self.lr.take()
            && let Some(frame) = self.link_register(unwinder, path, lr)
        {
            return Ok(frame);
        }
        // Before v5.14 nothing lies under the first function of a kernel thread.
        if self.fp == 0 {
            return Err(if unwinder.is_fork(self.pc) { End::Kthread } else { End::Outermost });
        }
        let [fp, lr] = path.words(self.fp).map_err(End::Bad)?;
        if fp == 0 && lr == 0 {
            return self.boundary(unwinder, path);
        }
        if let Some(regs) = self.interrupted(unwinder, path, fp, lr) {
            return self.resume(unwinder, path, &regs);
        }
        path.go(self.fp.wrapping_add(16)).map_err(End::Bad)?;
        let at = self.fp;
        let (mut pc, mut how) = (strip(unwinder, lr), How::FramePointer);
        if let Some(true_pc) = unwinder.hooks.recover(unwinder.space, unwinder.symbols, task, pc, fp) {
            (pc, how) = (strip(unwinder, true_pc), How::Hook);
        }
        if !unwinder.code.holds(pc) {
            return Err(End::Bad(BadFrame::NotCode(pc)));
        }
        *self = Self { pc, fp, lr: None };
        Ok(RawFrame { address: pc, sp: at, kind: FrameKind::Call, how })
    }

    /// The caller of a function that has no record: its code tells.
    fn link_register(&self, unwinder: &Unwinder<'_, '_>, path: &Path<'_, '_>, lr: u64) -> Option<RawFrame> {
        let lr = strip(unwinder, lr);
        if !holds_caller(unwinder, self.pc) || !unwinder.code.holds(lr) {
            return None;
        }
        follows_call(unwinder.space, false, lr).then_some(RawFrame {
            address: lr,
            sp: path.sp(),
            kind: FrameKind::Call,
            how: How::LinkRegister,
        })
    }

    /// An empty record: the last one, or one that says that it is of an exception.
    fn boundary(&mut self, unwinder: &Unwinder<'_, '_>, path: &mut Path<'_, '_>) -> Result<RawFrame, End> {
        let regs = unwinder.layout.stackframe.and_then(|it| self.fp.checked_sub(it));
        let regs = regs.ok_or(End::Bad(BadFrame::Unsupported))?;
        if unwinder.layout.has_meta_records {
            let kind = path.word(self.fp.wrapping_add(16)).map_err(End::Bad)?;
            match kind {
                1 => {}
                2 => {
                    let regs: [u64; REGS] = path.words(regs).map_err(End::Bad)?;
                    return self.resume(unwinder, path, &regs);
                }
                _ => return Err(End::Bad(BadFrame::OutsideStack(self.fp))),
            }
        }
        if unwinder.is_fork(self.pc) {
            return Err(End::Kthread);
        }
        let top = unwinder.layout.pt_regs.and_then(|it| path.own()?.end.checked_sub(it));
        if top == Some(regs) && entered_from_user(unwinder, self.pc) {
            let saved: [u64; REGS] = path.words(regs).map_err(End::Bad)?;
            let user = UserEntry { pt_regs: Some(regs), ip: saved[32], sp: saved[31], fp: saved[29] };
            return Err(if saved[33] & 0xc == 0 { End::User(user) } else { End::Outermost });
        }
        Err(End::Outermost)
    }

    /// The registers of what entry code interrupted, where no type says so: the record repeats them.
    fn interrupted(
        &self,
        unwinder: &Unwinder<'_, '_>,
        path: &Path<'_, '_>,
        fp: u64,
        lr: u64,
    ) -> Option<[u64; REGS]> {
        if unwinder.layout.has_meta_records || !unwinder.symbols.at(self.pc)?.name.starts_with("el1") {
            return None;
        }
        let regs: [u64; REGS] = path.words(self.fp.checked_sub(unwinder.layout.stackframe?)?).ok()?;
        (regs[29] == fp && regs[32] == lr && regs[33] & 0xc != 0).then_some(regs)
    }

    /// Goes on at what was interrupted.
    fn resume(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        path: &mut Path<'_, '_>,
        regs: &[u64; REGS],
    ) -> Result<RawFrame, End> {
        if regs[33] & 0xc == 0 {
            let at = unwinder.layout.stackframe.and_then(|it| self.fp.checked_sub(it));
            return Err(End::User(UserEntry { pt_regs: at, ip: regs[32], sp: regs[31], fp: regs[29] }));
        }
        let kind = entry_kind(unwinder.symbols, self.pc);
        path.go(regs[31]).map_err(End::Bad)?;
        *self = Self { pc: regs[32], fp: regs[29], lr: Some(regs[30]) };
        if !unwinder.code.holds(self.pc) {
            return Err(End::Bad(BadFrame::NotCode(self.pc)));
        }
        Ok(RawFrame { address: self.pc, sp: path.sp(), kind, how: How::Registers })
    }
}

/// Takes the authentication code out of a pointer: bit 55 says to which half it belongs.
fn strip(unwinder: &Unwinder<'_, '_>, pointer: u64) -> u64 {
    let Paging::Aarch64(paging) = unwinder.space.paging() else { return pointer };
    let code = u64::MAX.checked_shl(paging.virt_bits).unwrap_or(0);
    if pointer & (1 << 55) == 0 { pointer & !code } else { pointer | code }
}

/// Whether `x30` holds the return address at an instruction: before the function makes its frame, in one
/// that never does, and when it has put it back.
fn holds_caller(unwinder: &Unwinder<'_, '_>, pc: u64) -> bool {
    let Some(start) = unwinder.symbols.at(pc).map(|it| it.address) else { return false };
    let instruction = |at: u64| unwinder.space.u32(at).ok();
    if instruction(pc).is_some_and(|it| LEAVES.contains(&it)) {
        return true;
    }
    let before = (pc - start) / 4;
    let calls = |it: u32| it & 0xfc00_0000 == 0x9400_0000 || it & 0xfefe_0000 == 0xd63e_0000;
    let makes_frame = |it: u32| it & MAKES_FRAME.0 == MAKES_FRAME.1;
    before <= PROLOGUE
        && (0..before)
            .all(|number| instruction(start + number * 4).is_some_and(|it| !makes_frame(it) && !calls(it)))
}

/// `el0t_64_sync` and its like; before v5.13 `el0_sync`, `el0_svc`.
fn entered_from_user(unwinder: &Unwinder<'_, '_>, pc: u64) -> bool {
    unwinder.symbols.at(pc).is_some_and(|it| it.name.starts_with("el0") || it.name.starts_with("ret_to_user"))
}
