//! Exceptions in the kernel.
//!
//! x86 (`arch/x86/mm/fault.c`, `arch/x86/kernel/traps.c`):
//! * up to v5.0 `BUG: unable to handle kernel NULL pointer dereference at 0000000000000008`, then
//!   `BUG: kernel NULL pointer dereference, address: 0000000000000008`
//! * up to v5.0 `BUG: unable to handle kernel paging request at ffffc90000def000`, then
//!   `BUG: unable to handle page fault for address: ffffc90000def000`
//! * up to v5.5 `general protection fault: 0000 [#1] SMP PTI`, then `general protection fault, probably for
//!   non-canonical address 0xdead000000000108: 0000 [#1] SMP`; since v6.10 with `Oops: ` before it
//! * `invalid opcode: 0000 [#1] SMP`, `divide error: 0000 [#1] SMP`; since v6.10 with `Oops: ` before it
//! * `Oops: 0002 [#1] SMP` after the first two
//!
//! arm64 (`arch/arm64/mm/fault.c`): `Unable to handle kernel NULL pointer dereference at virtual address
//! 0000000000000008`, `Unable to handle kernel paging request at virtual address ...`, then `Internal error:
//! Oops: 0000000096000004 [#1] SMP`; arm: `Unhandled fault: ...`, `Internal error: Oops: 5 [#1] ARM`.

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule {
    needles: &[
        "[#",
        "BUG: ",
        "Unable to handle kernel",
        "general protection fault",
        "Unhandled fault",
        "Internal error: ",
    ],
    recognise,
};

fn recognise(text: &str) -> Option<Found<'_>> {
    let found = |kind| Some(Found::block(kind, Severity::Critical, text));
    let fault =
        text.strip_prefix("BUG: unable to handle ").or_else(|| text.strip_prefix("Unable to handle kernel "));
    if let Some(rest) = fault {
        let is_null = rest.contains("NULL pointer dereference");
        return found(if is_null { TroubleKind::NullDeref } else { TroubleKind::PageFault });
    }
    if text.starts_with("BUG: kernel NULL pointer dereference") {
        return found(TroubleKind::NullDeref);
    }
    let bare = text.strip_prefix("Oops: ").unwrap_or(text);
    if is_general_protection(bare) {
        return found(TroubleKind::GeneralProtection);
    }
    if text.starts_with("Unhandled fault: ") {
        return found(TroubleKind::Oops);
    }
    // "Oops: 0002 [#1]", "invalid opcode: 0000 [#1]", "Internal error: Oops: 96000004 [#1]": one number in
    // brackets counts the oopses since boot. Alone they are the report, after another line part of it.
    const HEADS: &[&str] = &[
        "Oops",
        "Internal error: ",
        "invalid opcode: ",
        "divide error: ",
        "divide_error: ",
        "int3: ",
        "stack segment: ",
        "segment not present: ",
        "invalid TSS: ",
        "alignment check: ",
        "debug: ",
        "control protection fault: ",
        "coprocessor error: ",
        "SIMD exception: ",
        "simd exception: ",
        "bounds: ",
        "Unhandled prefetch abort: ",
    ];
    (text.contains("[#") && HEADS.iter().any(|it| text.starts_with(it)))
        .then(|| Found { secondary: true, ..Found::block(TroubleKind::Oops, Severity::Critical, text) })
}

fn is_general_protection(text: &str) -> bool {
    // User space's: "traps: app[12] general protection fault ip:..." starts otherwise.
    let bare = text.strip_prefix("segment-related ").unwrap_or(text);
    bare.strip_prefix("general protection fault").is_some_and(|it| it.starts_with([':', ',', ' ']))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn exceptions_of_x86_are_found_in_all_wordings() {
        check(&[
            ("BUG: unable to handle kernel NULL pointer dereference at 0000000000000008", Some(NullDeref)),
            ("BUG: kernel NULL pointer dereference, address: 0000000000000008", Some(NullDeref)),
            ("BUG: unable to handle kernel paging request at ffffc90000def000", Some(PageFault)),
            ("BUG: unable to handle page fault for address: ffffc90000def000", Some(PageFault)),
            ("general protection fault: 0000 [#1] SMP PTI", Some(GeneralProtection)),
            (
                "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
                Some(GeneralProtection),
            ),
            ("segment-related general protection fault: beec [#2] SMP", Some(GeneralProtection)),
            ("invalid opcode: 0000 [#1] SMP", Some(Oops)),
            ("Oops: invalid opcode: 0000 [#1] SMP NOPTI", Some(Oops)),
            ("divide error: 0000 [#1] SMP KASAN", Some(Oops)),
        ]);
        assert!(recognise("Oops: 0002 [#1] SMP").unwrap().secondary);
    }

    #[test]
    fn exceptions_of_arm_are_found() {
        check(&[
            (
                "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
                Some(NullDeref),
            ),
            ("Unable to handle kernel paging request at virtual address ffff0000deadbeef", Some(PageFault)),
            ("Internal error: Oops: 0000000096000004 [#1] SMP", Some(Oops)),
            ("Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP", Some(Oops)),
            ("Internal error: the printer is on fire", None),
        ]);
    }
}
