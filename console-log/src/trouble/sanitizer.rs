//! Reports of checking kernels.
//!
//! * `BUG: KASAN: use-after-free in foo+0x1/0x2`, `BUG: KMSAN: uninit-value in foo+0x1/0x2`, `BUG: KCSAN:
//!   data-race in foo / bar`, `BUG: KFENCE: memory corruption in foo+0x1/0x2`, `BUG: KASAN: double-free or invalid-free`
//! * `UBSAN: Undefined behaviour in a.c:12:3` (up to v5.10), `UBSAN: array-index-out-of-bounds in a.c:12:3`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["BUG: K", "UBSAN: "], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let tools = ["BUG: KASAN: ", "BUG: KMSAN: ", "BUG: KCSAN: ", "BUG: KFENCE: "];
    let is_ubsan = text.strip_prefix("UBSAN: ").is_some_and(|it| it.contains(" in "));
    let reason = text.strip_prefix("BUG: ").unwrap_or(text);
    (is_ubsan || tools.iter().any(|it| text.starts_with(it)))
        .then(|| Found::block(TroubleKind::Sanitizer, Severity::Error, reason))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn reports_of_all_tools_are_found() {
        check(&[
            ("BUG: KASAN: use-after-free in foo+0x1/0x2", Some(Sanitizer)),
            ("BUG: KFENCE: memory corruption in foo+0x1/0x2", Some(Sanitizer)),
            ("UBSAN: array-index-out-of-bounds in fs/a.c:12:3", Some(Sanitizer)),
            ("UBSAN: enabled", None),
        ]);
    }
}
