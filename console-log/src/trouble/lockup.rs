//! CPUs that do not schedule, CPUs that take no interrupts, work that does not run.
//!
//! * soft: up to v4.18 `NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [spin:97]`, then
//!   `watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [spin:97]`; 3.x without the first word
//! * hard: `NMI watchdog: Watchdog detected hard LOCKUP on cpu 1`; v5.0 `Watchdog detected hard LOCKUP on cpu 1`;
//!   `watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1` (v6.5 and later); arm64 too
//! * work: `BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!` (since v4.5)

use super::{Found, Rule, Severity, TroubleKind, leading_number};

pub(super) const RULE: Rule =
    Rule { needles: &["soft lockup - CPU#", "hard LOCKUP", "workqueue lockup"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let bare = text.strip_prefix("NMI ").unwrap_or(text);
    let bare = bare.strip_prefix("watchdog: ").unwrap_or(bare);
    if let Some(rest) = bare.strip_prefix("BUG: soft lockup - CPU#") {
        let mut found = Found::block(TroubleKind::SoftLockup, Severity::Error, bare);
        found.cpu = leading_number(rest);
        let task = rest.rsplit_once('[').and_then(|it| it.1.rsplit_once(':'));
        found.task = task.and_then(|(comm, pid)| Some((comm, leading_number(pid)?)));
        return Some(found);
    }
    if let Some((head, cpu)) = bare.split_once("Watchdog detected hard LOCKUP") {
        // Before it at most "CPU1: ".
        if head.is_empty() || head.starts_with("CPU") {
            let mut found = Found::block(TroubleKind::HardLockup, Severity::Critical, bare);
            found.cpu = cpu.strip_prefix(" on cpu ").and_then(leading_number);
            return Some(found);
        }
    }
    bare.starts_with("BUG: workqueue lockup - pool")
        .then(|| Found::block(TroubleKind::WorkqueueLockup, Severity::Error, bare))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn lockups_are_found_with_their_cpu() {
        check(&[
            ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [spin:97]", Some(SoftLockup)),
            ("NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [spin:97]", Some(SoftLockup)),
            ("BUG: soft lockup - CPU#0 stuck for 22s! [spin:97]", Some(SoftLockup)),
            ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", Some(HardLockup)),
            ("watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1", Some(HardLockup)),
            (
                "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
                Some(WorkqueueLockup),
            ),
            ("NMI watchdog: Shutting down hard lockup detector on all cpus", None),
        ]);
        let found = recognise("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [a:b) c:97]").unwrap();
        assert_eq!((found.cpu, found.task), (Some(3), Some(("a:b) c", 97))));
    }
}
