//! A task in uninterruptible sleep for long (`kernel/hung_task.c`).
//!
//! * up to v7.1 `INFO: task dd:88 blocked for more than 120 seconds.`
//! * v7.2 `INFO: task dd:112 blocked in I/O wait for more than 120 seconds.`
//! * linux-next 2020: `INFO: task dd:88 can't die for more than 120 seconds.`
//!
//! A task's name may hold ` blocked ` and `:`; the line is read from its right side.

use super::{Found, Rule, Severity, TroubleKind, leading_number};

pub(super) const RULE: Rule = Rule { needles: &["INFO: task "], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let rest = text.strip_prefix("INFO: task ")?;
    let head = &rest[..rest.rfind(" for more than ")?];
    let (task, _) = head.rsplit_once(" blocked").or_else(|| head.rsplit_once(" can't die"))?;
    let (comm, pid) = task.rsplit_once(':')?;
    let mut found = Found::block(TroubleKind::HungTask, Severity::Error, text.strip_prefix("INFO: ")?);
    found.task = Some((comm, leading_number(pid)?));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check, recognise};

    #[test]
    fn both_wordings_are_found_with_their_task() {
        check(&[
            ("INFO: task dd:88 blocked for more than 120 seconds.", Some(HungTask)),
            ("INFO: task dd:112 blocked in I/O wait for more than 5 seconds.", Some(HungTask)),
            ("INFO: task dd:88 is blocked on a mutex likely owned by task cp:12.", None),
        ]);
        let found = recognise("INFO: task a blocked: b:7 blocked for more than 5 seconds.").unwrap();
        assert_eq!(found.task, Some(("a blocked: b", 7)));
    }
}
