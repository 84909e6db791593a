//! One step over an x86-64 stack by the ORC tables: `unwind_next_frame` in `arch/x86/kernel/unwind_orc.c`.

use super::code::{MadeCode, follows_call};
use super::frame::{BadFrame, End, FrameKind, How, RawFrame};
use super::orc_entry::{Base, FramePointer, OrcEntry, OrcKind};
use super::orc_table::OrcTables;
use super::stacks::Path;
use super::x86_regs::X86PtRegs;
use super::{Unwinder, entry_kind};

/// Registers beyond instruction, stack and frame pointer that a frame may be counted from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scratch {
    pub(super) r10: u64,
    pub(super) r13: u64,
    pub(super) ax: u64,
    pub(super) dx: u64,
    pub(super) di: u64,
}

/// Where the walk stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct X86State {
    pub(super) ip: u64,
    pub(super) bp: u64,
    /// The address is one where code was interrupted: it is looked up as it is.
    pub(super) exact: bool,
    /// Known for the frame that was interrupted: a call changes them.
    pub(super) scratch: Option<Scratch>,
}

impl From<&X86PtRegs> for X86State {
    fn from(regs: &X86PtRegs) -> Self {
        let (r10, r13, ax, dx, di) = (regs.r10(), regs.r13(), regs.ax(), regs.dx(), regs.di());
        Self { ip: regs.ip(), bp: regs.bp(), exact: true, scratch: Some(Scratch { r10, r13, ax, dx, di }) }
    }
}

impl X86State {
    /// Goes to the caller: its frame, or the end.
    pub(super) fn orc_step(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        tables: &OrcTables,
        path: &mut Path<'_, '_>,
        task: Option<u64>,
    ) -> Result<RawFrame, End> {
        let looked_up = if self.exact { self.ip } else { self.ip.wrapping_sub(1) };
        let (entry, how) = self.entry(unwinder, tables, looked_up).map_err(End::Bad)?;
        match entry.kind {
            OrcKind::Undefined => return Err(End::Bad(BadFrame::Undefined(self.ip))),
            OrcKind::End => return Err(End::Outermost),
            OrcKind::Call | OrcKind::Regs | OrcKind::Partial => {}
        }
        self.follow(unwinder, &entry, how, path, task)
    }

    fn entry(
        &self,
        unwinder: &Unwinder<'_, '_>,
        tables: &OrcTables,
        ip: u64,
    ) -> Result<(OrcEntry, How), BadFrame> {
        if ip == 0 && self.exact {
            return Ok((OrcEntry::NULL, How::Orc));
        }
        if let Some(entry) = tables.entry(&unwinder.code, unwinder.symbols, ip) {
            return Ok((entry, How::Orc));
        }
        // What BPF makes keeps frame pointers. For other code that is a guess, as it is for the kernel.
        match unwinder.code.made(ip) {
            Some(MadeCode::Bpf) => Ok((OrcEntry::FRAME_POINTER, How::FramePointer)),
            _ if unwinder.code.holds(ip) => Ok((OrcEntry::FRAME_POINTER, How::Guess)),
            _ => Err(BadFrame::NotCode(self.ip)),
        }
    }

    fn follow(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        entry: &OrcEntry,
        how: How,
        path: &mut Path<'_, '_>,
        task: Option<u64>,
    ) -> Result<RawFrame, End> {
        let cfa = self.cfa(entry, path).map_err(End::Bad)?;
        let before = self.ip;
        let frame = match entry.kind {
            OrcKind::Regs => {
                let regs = X86PtRegs::read(path, cfa).map_err(End::Bad)?;
                if regs.is_user() {
                    return Err(End::User(regs.user_entry()));
                }
                path.go(regs.sp()).map_err(End::Bad)?;
                *self = Self { exact: entry.signal, ..Self::from(&regs) };
                let kind = entry_kind(unwinder.symbols, before);
                RawFrame { address: self.ip, sp: path.sp(), kind, how: How::Registers }
            }
            OrcKind::Partial => {
                let [ip, cs, _flags, sp, _ss] = path.words(cfa).map_err(End::Bad)?;
                if cs & 3 == 3 {
                    // The general registers are not saved yet: the frame pointer is still the user's.
                    let user = super::UserEntry { pt_regs: cfa.checked_sub(16 * 8), ip, sp, fp: self.bp };
                    return Err(End::User(user));
                }
                path.go(sp).map_err(End::Bad)?;
                *self = Self { ip, bp: self.bp, exact: entry.signal, scratch: None };
                let kind = entry_kind(unwinder.symbols, before);
                RawFrame { address: ip, sp, kind, how: How::Registers }
            }
            _ => self.call(unwinder, entry, how, cfa, path, task)?,
        };
        Ok(frame)
    }

    /// The frame of a caller: its address lies under the canonical frame address.
    fn call(
        &mut self,
        unwinder: &Unwinder<'_, '_>,
        entry: &OrcEntry,
        mut how: How,
        cfa: u64,
        path: &mut Path<'_, '_>,
        task: Option<u64>,
    ) -> Result<RawFrame, End> {
        let slot = cfa.wrapping_sub(8);
        let mut ip = path.word(slot).map_err(End::Bad)?;
        if let Some(true_ip) = unwinder.hooks.recover(unwinder.space, unwinder.symbols, task, ip, slot) {
            (ip, how) = (true_ip, How::Hook);
        }
        let bp = match entry.bp {
            FramePointer::Unchanged => self.bp,
            FramePointer::OnStack => bp_at(path, cfa, entry)?,
            FramePointer::AtBp => bp_at(path, self.bp, entry)?,
        };
        path.go(cfa).map_err(End::Bad)?;
        if how == How::Guess && follows_call(unwinder.space, true, ip) {
            how = How::FramePointer;
        }
        if !unwinder.code.holds(ip) {
            return Err(End::Bad(BadFrame::NotCode(ip)));
        }
        *self = Self { ip, bp, exact: entry.signal, scratch: None };
        Ok(RawFrame { address: ip, sp: cfa, kind: FrameKind::Call, how })
    }

    /// The canonical frame address.
    fn cfa(&self, entry: &OrcEntry, path: &Path<'_, '_>) -> Result<u64, BadFrame> {
        let needs = BadFrame::NeedsRegister(self.ip);
        let scratch = |pick: fn(&Scratch) -> u64| self.scratch.as_ref().map(pick).ok_or(needs);
        let offset = i64::from(entry.sp_offset);
        match entry.base {
            Base::Sp => Ok(path.sp().wrapping_add_signed(offset)),
            Base::Bp => Ok(self.bp.wrapping_add_signed(offset)),
            Base::SpIndirect => Ok(path.word(path.sp())?.wrapping_add_signed(offset)),
            Base::BpIndirect => path.word(self.bp.wrapping_add_signed(offset)),
            Base::R10 => scratch(|it| it.r10),
            Base::R13 => scratch(|it| it.r13),
            Base::Ax => scratch(|it| it.ax),
            Base::Dx => scratch(|it| it.dx),
            Base::Di => scratch(|it| it.di),
            Base::Undefined => Err(BadFrame::Undefined(self.ip)),
        }
    }
}

fn bp_at(path: &Path<'_, '_>, base: u64, entry: &OrcEntry) -> Result<u64, End> {
    path.word(base.wrapping_add_signed(i64::from(entry.bp_offset))).map_err(End::Bad)
}
