//! `well`: nothing is wrong, or nothing any more.
//!
//! What: everything that is watched passed when it was last asked.
//! Why: trouble may end while it is examined, and a guest in which somebody only takes a look may be
//! well; the chart should not claim otherwise.
//! Evidence: the last answer of each scenario; labels in time; the shell.
//! False alarms: what is not watched may still be broken: hence at most likely.
//! Next steps: the event history tells what happened meanwhile.

use std::collections::BTreeMap;

use vmward_model::{Answer, Class, Confidence, GuestState};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console::{self, Labels};
use crate::sign::{cpu, disk};

pub(super) struct Well;

impl Rule for Well {
    fn name(&self) -> &'static str {
        "well"
    }

    fn class(&self) -> Class {
        Class::Well
    }

    fn check(&self, case: &Case) -> Checked {
        let on_demand = case.is_on_demand();
        match case.guest_state {
            GuestState::Running => {}
            // Without a monitor, or in a boot that no deadline has passed, nothing speaks against it.
            GuestState::Unknown | GuestState::Rebooting if on_demand => {}
            _ => return Checked::No,
        }
        let mut last = BTreeMap::new();
        for it in &case.probes {
            last.insert((&it.scenario, &it.probe), &it.answer);
        }
        let asked = last.values().filter(|it| !matches!(it, Answer::Unknown(_))).count();
        let labels = console::labels(case);
        let shell = console::shell(case);
        if last.values().any(|it| matches!(it, Answer::Fail(_)))
            || labels.is_some_and(|it| it != Labels::Going)
            || shell == Some(false)
            || disk::owing(case).is_some_and(|it| !it.is_empty())
        {
            return Checked::No;
        }
        let unwatched = labels.is_none() && shell.is_none();
        if !on_demand && (asked == 0 || unwatched) {
            return Checked::Unknown("nothing that is watched showed life".to_owned());
        }
        if unwatched && cpu::all_busy(case) != Some(false) {
            let text = "neither labels nor a shell are watched, and no vCPU is seen to rest";
            return Checked::Unknown(text.to_owned());
        }
        let mut draft = Draft::new(if unwatched { Confidence::Possible } else { Confidence::Likely });
        if asked > 0 {
            draft = draft.because("probe", format!("{asked} probes passed when they were last asked"));
        }
        if unwatched {
            draft = draft
                .because("capture:host", format!("not every vCPU works: {}", cpu::load(&cpu::vcpus(case))))
                .although("probe", "neither labels nor a shell are watched: user space was not seen");
        }
        if !on_demand {
            draft = draft.detail("again", "again");
        }
        if labels.is_some() {
            draft = draft.because("console:labels", "labels come in time");
        }
        if shell.is_some() {
            draft = draft.because("probe:shell", "the shell answers");
        }
        Checked::Yes(draft)
    }
}
