//! The kernel gave up (`kernel/panic.c`).
//!
//! * all: `Kernel panic - not syncing: sysrq triggered crash`
//! * all: `Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300` (init died)
//! * all: `Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)` (no root)
//! * all: `Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.`
//!
//! The report ends with `---[ end Kernel panic - not syncing: ... ]---` (since v3.13).

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["Kernel panic"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let rest = text.strip_prefix("Kernel panic - not syncing")?;
    let reason = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(':')).unwrap_or(rest).trim();
    let no_root =
        ["VFS: Unable to mount root fs", "No working init found", "No init found", "Requested init "];
    let kind = if reason.starts_with("Attempted to kill init") {
        TroubleKind::InitDied
    } else if no_root.iter().any(|it| reason.starts_with(it)) {
        TroubleKind::NoRoot
    } else {
        TroubleKind::Panic
    };
    Some(Found::block(kind, Severity::Critical, reason))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn panics_are_told_apart_by_their_reason() {
        check(&[
            ("Kernel panic - not syncing: sysrq triggered crash", Some(Panic)),
            ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300", Some(InitDied)),
            ("Kernel panic - not syncing: Attempted to kill the idle task!", Some(Panic)),
            ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", Some(NoRoot)),
            ("---[ end Kernel panic - not syncing: sysrq triggered crash ]---", None),
            ("echo Kernel panic - not syncing: no", None),
        ]);
        assert_eq!(
            recognise("Kernel panic - not syncing: hung_task: blocked tasks").unwrap().reason,
            "hung_task: blocked tasks"
        );
    }
}
