//! RCU's grace period does not end (`kernel/rcu/tree_stall.h`).
//!
//! * up to v4.19 `INFO: rcu_sched self-detected stall on CPU`, `INFO: rcu_sched detected stalls on CPUs/tasks:`
//! * since v4.20 `rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:`
//! * `rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... } 21 jiffies s: 5 root: 0x1/.`
//! * `INFO: rcu_tasks detected stalls on tasks:`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule = Rule { needles: &["INFO: rcu"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let bare = text.strip_prefix("rcu: ").unwrap_or(text);
    let reason = bare.strip_prefix("INFO: ").filter(|it| it.starts_with("rcu"))?;
    (reason.contains("stall on CPU")
        || reason.contains("detected stalls on")
        || reason.contains("expedited stalls"))
    .then(|| Found::block(TroubleKind::RcuStall, Severity::Error, reason))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn stalls_are_found() {
        check(&[
            ("INFO: rcu_sched self-detected stall on CPU", Some(RcuStall)),
            ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Some(RcuStall)),
            ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... }", Some(RcuStall)),
            ("INFO: rcu_tasks detected stalls on tasks:", Some(RcuStall)),
            ("rcu: INFO: something else", None),
        ]);
    }
}
