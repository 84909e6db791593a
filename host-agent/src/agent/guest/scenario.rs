//! A scenario as the actor runs it: probes, their settings, the rule.

use std::time::Duration;

use crate::probe::{Probe, Settings, named};
use crate::verdict::Rule;

/// Name of the scenario that every guest has, whether one is bound or not.
pub const QEMU_ANSWERS: &str = "qemu-answers";

/// One scenario of one guest.
#[derive(Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// A round so often.
    pub every: Duration,
    /// When it counts as failed.
    pub rule: Rule,
    /// Its probes.
    pub asks: Vec<Ask>,
    /// When a boot counts as stuck.
    pub boot: BootDeadlines,
}

/// How long the boot of a guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootDeadlines {
    /// A boot that was seen and is not over after so long is stuck.
    pub whole: Duration,
    /// The same for a kernel that waits for its root device: it has nothing else to do.
    pub root: Duration,
}

/// One probe of a scenario.
#[derive(Clone)]
pub struct Ask {
    /// The probe.
    pub probe: &'static dyn Probe,
    /// What the scenario says to it.
    pub settings: Settings,
}

impl Scenario {
    /// Watches QEMU itself: added to every guest that has no scenario with `qmp-status`, so that a
    /// QEMU that is stopped or killed is noticed whatever was bound.
    pub fn qemu_answers(boot: BootDeadlines) -> Option<Scenario> {
        let asks = vec![Ask { probe: named("qmp-status")?, settings: Settings::default() }];
        Some(Scenario {
            name: QEMU_ANSWERS.to_owned(),
            every: Duration::from_secs(5),
            rule: Rule::new(2, 3, 1).unwrap_or(Rule::AT_ONCE),
            asks,
            boot,
        })
    }

    /// Whether it asks this probe.
    pub fn asks(&self, probe: &str) -> bool {
        self.asks.iter().any(|it| it.probe.name() == probe)
    }
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let probes: Vec<&str> = self.asks.iter().map(|it| it.probe.name()).collect();
        f.debug_struct("Scenario").field("name", &self.name).field("probes", &probes).finish_non_exhaustive()
    }
}
