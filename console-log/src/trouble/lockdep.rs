//! Reports of the lock validator (`kernel/locking/lockdep.c`).
//!
//! * since v4.11 `WARNING: possible circular locking dependency detected`, before
//!   `[ INFO: possible circular locking dependency detected ]`
//! * `WARNING: suspicious RCU usage` (since v4.11), before `[ INFO: suspicious RCU usage. ]`
//! * `[ BUG: bad unlock balance detected! ]`, `[ BUG: Invalid wait context ]`
//! * lock debugging: `BUG: spinlock bad magic on CPU#0, swapper/0/1`
//! * `INFO: trying to register non-static key.`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["WARNING: ", "INFO: ", "BUG: "], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    const REPORTS: &[&str] = &[
        "possible circular locking dependency detected",
        "possible recursive locking detected",
        "possible irq lock inversion dependency detected",
        "inconsistent lock state",
        "bad unlock balance detected",
        "bad contention detected",
        "Nested lock was not taken",
        "suspicious RCU usage",
        "held lock freed",
        "lock held when returning to user space",
        "still has locks held",
        "trying to register non-static key",
        "suspicious RCU",
        "Invalid wait context",
        "spinlock ",
        "rwlock ",
    ];
    let bare = text.strip_prefix("[ ").and_then(|it| it.strip_suffix(" ]")).unwrap_or(text);
    let reason = bare
        .strip_prefix("WARNING: ")
        .or_else(|| bare.strip_prefix("INFO: "))
        .or_else(|| bare.strip_prefix("BUG: "))?;
    let unsafe_order = reason.contains("-safe -> ") && reason.ends_with("lock order detected");
    let held = reason.ends_with(" still has locks held!") || reason.ends_with("still have locks held!");
    (unsafe_order || held || REPORTS.iter().any(|it| reason.starts_with(it)))
        .then(|| Found::block(TroubleKind::Lockdep, Severity::Warning, reason))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn both_ages_of_the_head_are_read() {
        check(&[
            ("WARNING: possible circular locking dependency detected", Some(Lockdep)),
            ("[ INFO: possible circular locking dependency detected ]", Some(Lockdep)),
            ("WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected", Some(Lockdep)),
            ("WARNING: suspicious RCU usage", Some(Lockdep)),
            ("[ BUG: bad unlock balance detected! ]", Some(Lockdep)),
            ("BUG: spinlock bad magic on CPU#0, swapper/0/1", Some(Lockdep)),
            ("INFO: lockdep is turned off.", None),
        ]);
    }
}
