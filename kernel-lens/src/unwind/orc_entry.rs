//! One entry of the ORC tables, in the four forms that it has had.
//!
//! `struct orc_entry`, `arch/x86/include/asm/orc_types.h`: two signed 16-bit offsets, then 4 bits stack
//! register, 4 bits frame register, and from bit 8:
//!
//! | form | kernels | type | signal | end |
//! |---|---|---|---|---|
//! | 1 | v4.14 to v6.2 | 9:8 | - | 10 |
//! | 2 | v6.3 (commit ffb1b4a41016) | 9:8 | 10 | 11 |
//! | 3 | v6.4 to v7.0 (commit fb799447ae29) | 10:8, with two new types before | 11 | - |
//! | 4 | since v7.1 | as 3, registers numbered anew | | |
//!
//! Since v6.5 (commit b9f174c811e3), and in stable v6.3.10 and v6.4, `__start_orc_header` holds a hash of
//! the form.

/// A form of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OrcForm {
    V1,
    V2,
    V3,
    V4,
}

impl OrcForm {
    /// The form of a header: the SHA-1 that `scripts/orc_hash.sh` takes of the definition.
    pub(super) fn of_header(hash: [u8; 20]) -> Option<Self> {
        match u64::from_be_bytes(*hash.first_chunk()?) {
            0xdb84_aed4_103b_31dd => Some(Self::V2),
            0xfe5d_32bf_581b_d63b => Some(Self::V3),
            0x137c_36ad_7627_c4dd => Some(Self::V4),
            _ => None,
        }
    }
}

/// What the canonical frame address is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Base {
    Undefined,
    Sp,
    Bp,
    /// The word at the stack pointer, then the offset.
    SpIndirect,
    /// The word at frame pointer and offset.
    BpIndirect,
    Ax,
    Dx,
    Di,
    R10,
    R13,
}

/// Where the caller's frame pointer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FramePointer {
    Unchanged,
    /// At the canonical frame address and offset.
    OnStack,
    /// At the frame pointer and offset.
    AtBp,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum OrcKind {
    Undefined,
    /// Nothing called this code.
    End,
    Call,
    /// A whole `pt_regs`.
    Regs,
    /// Only what the CPU pushed: the five words that `iret` takes.
    Partial,
}

/// A decoded entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct OrcEntry {
    pub(super) base: Base,
    pub(super) sp_offset: i16,
    pub(super) bp: FramePointer,
    pub(super) bp_offset: i16,
    pub(super) kind: OrcKind,
    /// The next address is where it was interrupted, not where a call returns to.
    pub(super) signal: bool,
}

impl OrcEntry {
    /// What the kernel uses at address 0, which only a call through a null pointer leads to
    /// (`null_orc_entry`).
    pub(super) const NULL: Self = Self {
        base: Base::Sp,
        sp_offset: 8,
        bp: FramePointer::Unchanged,
        bp_offset: 0,
        kind: OrcKind::Call,
        signal: false,
    };

    /// What the kernel uses for code without tables (`orc_fp_entry`).
    pub(super) const FRAME_POINTER: Self = Self {
        base: Base::Bp,
        sp_offset: 16,
        bp: FramePointer::OnStack,
        bp_offset: -16,
        kind: OrcKind::Call,
        signal: false,
    };

    /// Decodes the six bytes of an entry.
    pub(super) fn decode(form: OrcForm, [a, b, c, d, e, f]: [u8; 6]) -> Self {
        let flags = u16::from_le_bytes([e, f]);
        let (sp_register, bp_register) = (flags & 15, (flags >> 4) & 15);
        let (base, bp) = match form {
            OrcForm::V4 => numbered_anew(sp_register, bp_register),
            _ => numbered(sp_register, bp_register),
        };
        let bit = |at: u32| flags & (1 << at) != 0;
        let old_kind = |end: u32| match (sp_register, bit(end), (flags >> 8) & 3) {
            (0, true, _) => OrcKind::End,
            (0, false, _) => OrcKind::Undefined,
            (_, _, 0) => OrcKind::Call,
            (_, _, 1) => OrcKind::Regs,
            (_, _, 2) => OrcKind::Partial,
            _ => OrcKind::Undefined,
        };
        let (kind, signal) = match form {
            OrcForm::V1 => {
                let kind = old_kind(10);
                (kind, matches!(kind, OrcKind::Regs | OrcKind::Partial))
            }
            OrcForm::V2 => (old_kind(11), bit(10)),
            OrcForm::V3 | OrcForm::V4 => {
                let kind = match (flags >> 8) & 7 {
                    1 => OrcKind::End,
                    2 => OrcKind::Call,
                    3 => OrcKind::Regs,
                    4 => OrcKind::Partial,
                    _ => OrcKind::Undefined,
                };
                (kind, bit(11))
            }
        };
        let (sp_offset, bp_offset) = (i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]));
        Self { base, sp_offset, bp, bp_offset, kind, signal }
    }
}

/// Registers of the forms 1 to 3.
fn numbered(sp: u16, bp: u16) -> (Base, FramePointer) {
    let base = match sp {
        2 => Base::Dx,
        3 => Base::Di,
        4 => Base::Bp,
        5 => Base::Sp,
        6 => Base::R10,
        7 => Base::R13,
        8 => Base::BpIndirect,
        9 => Base::SpIndirect,
        10 => Base::Ax,
        _ => Base::Undefined,
    };
    let bp = match bp {
        1 => FramePointer::OnStack,
        4 => FramePointer::AtBp,
        _ => FramePointer::Unchanged,
    };
    (base, bp)
}

/// Registers of form 4.
fn numbered_anew(sp: u16, bp: u16) -> (Base, FramePointer) {
    let base = match sp {
        1 => Base::Ax,
        2 => Base::Dx,
        3 => Base::Sp,
        4 => Base::Bp,
        5 => Base::Di,
        6 => Base::R10,
        7 => Base::R13,
        9 => Base::SpIndirect,
        10 => Base::BpIndirect,
        _ => Base::Undefined,
    };
    let bp = match bp {
        4 => FramePointer::AtBp,
        8 => FramePointer::OnStack,
        _ => FramePointer::Unchanged,
    };
    (base, bp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(form: OrcForm, flags: u16) -> OrcEntry {
        let [low, high] = flags.to_le_bytes();
        OrcEntry::decode(form, [8, 0, 0xf0, 0xff, low, high])
    }

    #[test]
    fn a_plain_call_is_read_in_every_form() {
        let forms = [(OrcForm::V1, 0x015), (OrcForm::V2, 0x015), (OrcForm::V3, 0x215), (OrcForm::V4, 0x283)];
        for (form, flags) in forms {
            let bp = FramePointer::OnStack;
            let call = OrcEntry { bp, bp_offset: -16, ..OrcEntry::NULL };
            assert_eq!(decode(form, flags), call, "{form:?}");
        }
    }

    #[test]
    fn registers_and_ends_are_read_in_every_form() {
        let forms = [
            (OrcForm::V1, 0x105, 0x205, 0x400),
            (OrcForm::V2, 0x505, 0x605, 0x800),
            (OrcForm::V3, 0xb05, 0xc05, 0x100),
            (OrcForm::V4, 0xb03, 0xc03, 0x100),
        ];
        for (form, regs, partial, end) in forms {
            let regs = decode(form, regs);
            assert_eq!((regs.kind, regs.base, regs.signal), (OrcKind::Regs, Base::Sp, true), "{form:?}");
            let partial = decode(form, partial);
            assert_eq!((partial.kind, partial.signal), (OrcKind::Partial, true), "{form:?}");
            assert_eq!(decode(form, end).kind, OrcKind::End, "{form:?}");
            assert_eq!(decode(form, 0).kind, OrcKind::Undefined, "{form:?}");
        }
    }

    #[test]
    fn no_bits_are_beyond_decoding() {
        for form in [OrcForm::V1, OrcForm::V2, OrcForm::V3, OrcForm::V4] {
            for flags in 0..=u16::MAX {
                decode(form, flags);
            }
        }
    }
}
