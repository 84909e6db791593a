//! What tasks wait for.

use vmward_kernel_facts::{Frame, Task, WaitKind, symbol_stem, wait_kind};

use super::wait;
use crate::Case;

/// Where the lists of tasks come from.
pub(crate) fn source(case: &Case) -> &'static str {
    if from_memory(case) { wait::SOURCE } else { "capture:sysrq" }
}

/// Whether the lists of tasks were read from memory: of a kernel without types SysRq has to tell them.
fn from_memory(case: &Case) -> bool {
    let listed = || case.kernel.tasks.iter().chain(&case.kernel.blocked).flatten();
    case.kernel.look.is_some() && listed().all(|it| it.address.is_some())
}

/// Tasks in uninterruptible sleep. Where they were listed twice (SysRq `w` and `t`), only those that
/// stand at the same place both times: whoever moved on between is not stuck. Where they were read from
/// memory, only those that have stood there for long. `None` where no list was got.
pub(crate) fn blocked(case: &Case) -> Option<Vec<&Task>> {
    let is_blocked = |it: &&Task| it.is_blocked();
    if from_memory(case) {
        let listed = case.kernel.tasks.as_ref().or(case.kernel.blocked.as_ref())?;
        // Whose age is not known may be stuck, which is no sign in a guest that nobody complains of.
        let stands =
            |it: &&Task| it.in_state.map_or(!case.is_on_demand(), |state| state.ns >= wait::long_ns(case));
        return Some(listed.iter().filter(is_blocked).filter(stands).collect());
    }
    match (&case.kernel.blocked, &case.kernel.tasks) {
        (Some(some), Some(all)) if !all.is_empty() => {
            let stays = |it: &&Task| {
                let again = all.iter().find(|other| other.pid.is_some() && other.pid == it.pid);
                // A task that the second text lost is not known to have moved.
                again.is_none_or(|other| other.is_blocked() && wait_kind(other) == wait_kind(it))
            };
            Some(some.iter().filter(is_blocked).filter(stays).collect())
        }
        (Some(some), _) => Some(some.iter().filter(is_blocked).collect()),
        (None, Some(all)) => Some(all.iter().filter(is_blocked).collect()),
        (None, None) => None,
    }
}

/// Those of the blocked tasks that wait for something of this sort.
pub(crate) fn waiting<'a>(blocked: &[&'a Task], wanted: impl Fn(WaitKind) -> bool) -> Vec<&'a Task> {
    blocked.iter().copied().filter(|it| wait_kind(it).is_some_and(&wanted)).collect()
}

/// Tasks with one of these symbols on the stack, whatever their state.
pub(crate) fn passing_through<'a>(case: &'a Case, symbols: &[&str]) -> Vec<&'a Task> {
    let listed = case.kernel.tasks.as_ref().or(case.kernel.blocked.as_ref());
    let through = |frame: &Frame| symbols.contains(&symbol_stem(frame.name()));
    listed.map_or(&[][..], |it| it).iter().filter(|it| it.stack.iter().any(through)).collect()
}

/// `dd (pid 112) in folio_wait_bit_common`, at most four of them.
pub(crate) fn names(tasks: &[&Task]) -> String {
    let one = |it: &&Task| {
        let pid = it.pid.map_or_else(|| "?".to_owned(), |it| it.to_string());
        match it.wait_channel() {
            Some(frame) => format!("{} (pid {pid}) in {}", it.comm, frame.name()),
            None => format!("{} (pid {pid})", it.comm),
        }
    };
    let mut text = tasks.iter().take(4).map(one).collect::<Vec<_>>().join(", ");
    if tasks.len() > 4 {
        text.push_str(&format!(" and {} more", tasks.len() - 4));
    }
    text
}

/// Why there is no list of tasks, for evidence and for `Unknown`.
pub(crate) fn why_no_list(case: &Case) -> String {
    match &case.kernel.sysrq {
        Some(it) if it.refused.iter().any(|key| matches!(key, 'w' | 't')) => {
            "the kernel's SysRq mask refused the list of tasks".to_owned()
        }
        Some(it) if it.silent.iter().any(|key| matches!(key, 'w' | 't')) => {
            "SysRq for the list of tasks was not answered".to_owned()
        }
        _ => "no list of tasks was captured".to_owned(),
    }
}
