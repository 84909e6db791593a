//! A cgroup's limit of tasks was reached (`kernel/cgroup/pids.c`).
//!
//! * since v4.8 `cgroup: fork rejected by pids controller in /system.slice/app.service`, once for each cgroup

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["fork rejected by pids controller"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let reason = text.strip_prefix("cgroup: ").unwrap_or(text);
    reason
        .starts_with("fork rejected by pids controller in ")
        .then(|| Found::line(TroubleKind::PidsLimit, Severity::Error, reason))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn a_rejected_fork_is_found() {
        check(&[
            ("cgroup: fork rejected by pids controller in /system.slice/app.service", Some(PidsLimit)),
            ("app: fork rejected by pids controller in /x", None),
        ]);
    }
}
