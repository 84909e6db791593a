//! The kernel kills a process to get memory (`mm/oom_kill.c`).
//!
//! * all: `memhog invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|...), order=0, oom_score_adj=0`
//!   begins the report, then the stack, the memory, the tasks,
//! * `Out of memory: Killed process 85 (memhog) total-vm:345124kB, ...` ends it (up to v5.3 two lines:
//!   `Out of memory: Kill process 85 (memhog) score 900 or sacrifice child`), with cgroups
//!   `Memory cgroup out of memory: Killed process 85 (memhog) ...`

use super::{Found, Rule, Severity, TroubleKind, leading_number};

pub(super) const RULE: Rule = Rule { needles: &[" invoked oom-killer: ", "ut of memory: Kill"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    if let Some((_, rest)) = text.split_once(" invoked oom-killer: ") {
        return rest
            .starts_with("gfp_mask=")
            .then(|| Found::block(TroubleKind::OomKill, Severity::Error, text));
    }
    let victim = victim(text)?;
    Some(Found {
        task: Some(victim),
        secondary: true,
        ..Found::line(TroubleKind::OomKill, Severity::Error, text)
    })
}

/// Name and pid of the process that was killed.
pub(crate) fn victim(text: &str) -> Option<(&str, u32)> {
    let rest = text
        .strip_prefix("Out of memory: ")
        .or_else(|| text.strip_prefix("Memory cgroup out of memory: "))?;
    let rest = rest.strip_prefix("Killed process ").or_else(|| rest.strip_prefix("Kill process "))?;
    let pid = leading_number(rest)?;
    let comm = rest.split_once(" (").map(|it| it.1)?;
    let end = comm.rfind(") total-vm:").or_else(|| comm.rfind(") score ")).or_else(|| comm.rfind(')'))?;
    Some((&comm[..end], pid))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn kills_are_found_with_their_victim() {
        check(&[
            ("memhog invoked oom-killer: gfp_mask=0x140dca(GFP_X), order=0, oom_score_adj=0", Some(OomKill)),
            ("Out of memory: Kill process 85 (memhog) score 900 or sacrifice child", Some(OomKill)),
            ("app: Out of memory: Killed process", None),
        ]);
        let found =
            recognise("Memory cgroup out of memory: Killed process 85 (a) b) total-vm:345124kB").unwrap();
        assert_eq!(found.task, Some(("a) b", 85)));
    }
}
