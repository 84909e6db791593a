//! A fault while handling a fault, and kernel stacks that overflow.
//!
//! * all: `PANIC: double fault, error_code: 0x0`; since v5.1 `traps: PANIC: double fault, error_code: 0x0`
//! * since v5.8: `double fault: 0000 [#1] SMP`, v6.10 `Oops: double fault: 0000 [#1] SMP`
//! * since v4.9: `BUG: stack guard page was hit at 00000000f0e3f4c6 (stack is 0000..0000)`; v6.x with
//!   `BUG: TASK stack guard page was hit`
//! * arm64: `Insufficient stack space to handle exception!`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule =
    Rule { needles: &["double fault", "stack guard page", "Insufficient stack"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let bare = text.strip_prefix("traps: ").unwrap_or(text);
    if bare.starts_with("PANIC: double fault") {
        return Some(Found::block(TroubleKind::DoubleFault, Severity::Critical, bare));
    }
    let oops = text.strip_prefix("Oops: ").unwrap_or(text);
    if oops.starts_with("double fault: 0") {
        return Some(Found {
            secondary: true,
            ..Found::block(TroubleKind::DoubleFault, Severity::Critical, text)
        });
    }
    let overflow = text.starts_with("BUG: ") && text.contains("stack guard page was hit")
        || text.starts_with("Insufficient stack space to handle exception!");
    overflow.then(|| Found::block(TroubleKind::StackOverflow, Severity::Critical, text))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn double_faults_and_overflows_are_found() {
        check(&[
            ("PANIC: double fault, error_code: 0x0", Some(DoubleFault)),
            ("traps: PANIC: double fault, error_code: 0x0", Some(DoubleFault)),
            ("Oops: double fault: 0000 [#1] SMP", Some(DoubleFault)),
            ("BUG: stack guard page was hit at 00000000f0e3f4c6", Some(StackOverflow)),
            ("BUG: TASK stack guard page was hit at ffffc90003e2ff88", Some(StackOverflow)),
            ("Insufficient stack space to handle exception!", Some(StackOverflow)),
        ]);
    }
}
