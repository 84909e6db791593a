//! Checks that the kernel lives with: `WARN_ON()` (`kernel/panic.c`, `__warn()`).
//!
//! * up to v3.12 `WARNING: at fs/a.c:12 foo+0x1/0x2()`
//! * since v3.13 `WARNING: CPU: 1 PID: 97 at fs/a.c:12 foo+0x1/0x2`
//! * v6.19 and later `WARNING: fs/a.c:12 at foo+0x1/0x2, CPU#1: comm/97`
//! * x86 unwinder: `WARNING: kernel stack regs at 0000000012345678 in comm:97 has bad 'bp' value 0000000012345678`
//!
//! Only these forms count: firmware, boot loaders and scripts print `WARNING:` all day.

use super::{Found, Rule, Severity, TroubleKind, leading_number};

pub(super) const RULE: Rule = Rule { needles: &["WARNING: "], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let reason = text.strip_prefix("WARNING: ")?;
    let mut found = Found::block(TroubleKind::Warning, Severity::Warning, reason);
    if let Some(rest) = reason.strip_prefix("CPU: ") {
        found.cpu = leading_number(rest);
        return (rest.contains(" PID: ") && has_place(rest.split_once(" at ")?.1)).then_some(found);
    }
    if let Some(place) = reason.strip_prefix("at ") {
        return has_place(place).then_some(found);
    }
    if reason.starts_with("kernel stack ") && reason.contains(" has bad ") {
        return Some(found);
    }
    let (place, rest) = reason.split_once(" at ")?;
    let (_, cpu) = rest.rsplit_once(", CPU#")?;
    found.cpu = leading_number(cpu);
    let (comm, pid) = cpu.split_once(": ").and_then(|it| it.1.rsplit_once('/'))?;
    found.task = leading_number(pid).map(|it| (comm, it));
    has_place(place).then_some(found)
}

/// `fs/a.c:12` somewhere in the first word.
fn has_place(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    word.rsplit_once(':').is_some_and(|(file, line)| file.contains('.') && leading_number(line).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn only_the_kernels_own_forms_count() {
        check(&[
            ("WARNING: at fs/a.c:12 foo+0x1/0x2()", Some(Warning)),
            ("WARNING: CPU: 1 PID: 97 at fs/a.c:12 foo+0x1/0x2", Some(Warning)),
            ("WARNING: fs/a.c:12 at foo+0x1/0x2, CPU#1: a/b c/97", Some(Warning)),
            ("WARNING: kernel stack regs at (ptrval) in a:97 has bad 'bp' value (ptrval)", Some(Warning)),
            ("WARNING: CPU fan is slow", None),
            ("WARNING: at least one disk is old", None),
            ("WARNING: this is sparta", None),
        ]);
        let found = recognise("WARNING: fs/a.c:12 at foo+0x1/0x2, CPU#1: a/b c/97").unwrap();
        assert_eq!((found.cpu, found.task), (Some(1), Some(("a/b c", 97))));
    }
}
