//! What the answers of a scenario say over time: a pure state machine, no clock and no I/O.
//!
//! One [`Watch`] a scenario of a guest. Each round gives it one answer; it says when the scenario
//! failed (N of the last M rounds) and when it is well again. An answer that cannot tell takes a
//! place in the window, so that old failures age, and never counts against the guest.

mod rule;
mod watch;

pub use rule::{BadRule, Rule};
pub use watch::{Change, Failure, Round, Standing, Watch};

use vmward_model::{Answer, Class};

/// The answer of a whole round: a failure of any probe is one of the round; what cannot tell comes
/// before what passed, because a scenario is well only when all of it is.
pub fn worst<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Answer {
    let mut fails: Vec<&str> = Vec::new();
    let mut unknown: Vec<&str> = Vec::new();
    let mut any = false;
    for answer in answers {
        any = true;
        match answer {
            Answer::Pass => {}
            Answer::Fail(why) => fails.push(why),
            Answer::Unknown(why) => unknown.push(why),
        }
    }
    match (any, fails.is_empty(), unknown.is_empty()) {
        (false, ..) => Answer::Unknown("no probe answered".to_owned()),
        (true, false, _) => Answer::Fail(fails.join("; ")),
        (true, true, false) => Answer::Unknown(unknown.join("; ")),
        (true, true, true) => Answer::Pass,
    }
}

/// How much a class that probes alone may give tells; the larger one opens the incident when
/// several scenarios fail together.
pub fn weight(class: Class) -> u8 {
    match class {
        Class::QemuGone => 6,
        Class::QemuStuck => 5,
        Class::Panicked => 4,
        Class::KernelOops => 3,
        Class::BootStuck => 2,
        Class::ConsoleLost => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_that_fails_fails_the_round_whatever_the_others_say() {
        let fail = Answer::Fail("no label".into());
        let unknown = Answer::Unknown("busy".into());
        assert_eq!(worst([&Answer::Pass, &unknown, &fail]), fail);
        assert_eq!(worst([&Answer::Pass, &unknown]), unknown);
        assert_eq!(worst([&Answer::Pass, &Answer::Pass]), Answer::Pass);
        assert!(matches!(worst([]), Answer::Unknown(_)));
    }
}
