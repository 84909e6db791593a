//! An interrupt that nobody knows (`arch/x86/kernel/nmi.c`).
//!
//! * x86, all: `Uhhuh. NMI received for unknown reason 21 on CPU 0.`, then `Dazed and confused, but trying to continue`

use super::{Found, Rule, Severity, TroubleKind, leading_number};

pub(super) const RULE: Rule = Rule { needles: &["NMI received for unknown reason"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    let rest = text.strip_prefix("Uhhuh. NMI received for unknown reason ")?;
    let cpu = rest.split_once(" on CPU ").and_then(|it| leading_number(it.1));
    Some(Found { cpu, ..Found::line(TroubleKind::UnknownNmi, Severity::Warning, text) })
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn an_unknown_nmi_is_found() {
        check(&[("Uhhuh. NMI received for unknown reason 21 on CPU 0.", Some(UnknownNmi))]);
    }
}
