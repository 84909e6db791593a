//! `host-pressure`: the host is short of something that this guest needs.
//!
//! What: pressure stall information of the guest's cgroup, or of the host, is high.
//! Why: a guest that gets no CPU, memory or I/O from the host is slow through no fault of its own.
//! Evidence: `some avg10` of cpu, memory and io.
//! False alarms: short bursts are averaged over ten seconds.
//! Next steps: what else runs on the host.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct HostPressure;

/// Share of time in percent from which on each is worth saying.
const HIGH: &[(&str, f64)] =
    &[("cpu.some.avg10", 50.0), ("memory.some.avg10", 10.0), ("io.some.avg10", 50.0)];

impl Rule for HostPressure {
    fn name(&self) -> &'static str {
        "host-pressure"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(host) = &case.observed.host else {
            return Checked::Unknown("the host's side was not captured".to_owned());
        };
        let high = HIGH.iter().filter_map(|(name, from)| {
            host.pressure.get(*name).filter(|it| *it >= from).map(|it| format!("{name} is {it:.0} %"))
        });
        let high: Vec<String> = high.collect();
        if high.is_empty() {
            return Checked::No;
        }
        let draft = Draft::new(Confidence::Likely).detail("pressure", high.join(", "));
        Checked::Yes(high.into_iter().fold(draft, |draft, it| draft.because("capture:host", it)))
    }
}
