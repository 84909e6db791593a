//! Which captures a diagnosis takes and how far it may climb.

use std::time::Duration;

use crate::config::{Diagnosis, GuestPolicy, L3};

/// One capture that is wanted, with other bounds than its own where the configuration sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// How long it may take.
    pub deadline: Duration,
    /// Bytes of each artifact that are kept.
    pub cap: usize,
    /// Captures of one rung and one group run side by side, groups in rising order.
    pub group: u32,
}

/// The plan of one diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The captures; `None` for all, with their own bounds.
    pub captures: Option<Vec<Wanted>>,
    /// Whether the guest's owner opted in to rung L2.
    pub l2: bool,
    /// When rung L3 may be climbed.
    pub l3: L3,
    /// SysRq keys in their order.
    pub keys: String,
    /// Whether a verdict failed. A diagnosis that somebody asks for of a guest that is well stays off L3.
    pub failed: bool,
    /// For rungs L0 to L2 together.
    pub quiet_budget: Duration,
    /// For rung L3.
    pub sysrq_budget: Duration,
}

/// For L0 to L2, so that a bundle is written within 20 s of the notice, and for L3, within 45 s.
const QUIET: Duration = Duration::from_secs(17);
const SYSRQ: Duration = Duration::from_secs(24);
/// Of a diagnosis' deadline, what is kept for writing the bundle.
const SPARE: Duration = Duration::from_secs(3);

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            captures: None,
            l2: false,
            l3: L3::AfterFailure,
            keys: "wlmpqt".to_owned(),
            failed: true,
            quiet_budget: QUIET,
            sysrq_budget: SYSRQ,
        }
    }
}

impl Plan {
    /// The plan for a guest. `failed` says whether a verdict failed.
    pub fn of(diagnosis: &Diagnosis, policy: &GuestPolicy, failed: bool) -> Plan {
        let wanted = diagnosis.captures.iter().map(|it| Wanted {
            name: it.name.clone(),
            deadline: it.deadline.get(),
            cap: usize::try_from(it.cap.bytes()).unwrap_or(usize::MAX),
            group: it.group,
        });
        let whole = diagnosis.deadline.get().saturating_sub(SPARE);
        let quiet_budget = whole.min(QUIET);
        Plan {
            captures: Some(wanted.collect()),
            l2: policy.l2,
            l3: policy.l3,
            keys: policy.sysrq.as_str().to_owned(),
            failed,
            quiet_budget,
            sysrq_budget: whole.saturating_sub(quiet_budget).min(SYSRQ),
        }
    }

    /// What is wanted of the capture; `None` when it is not part of the plan.
    pub(super) fn wants(&self, capture: &dyn super::Capture) -> Option<Wanted> {
        let name = capture.name();
        // The key's own place in the policy decides, and the answer to `h` is part of a refusal.
        if let Some(key) = name.strip_prefix("sysrq-")
            && key != "h"
            && !self.keys.contains(key)
        {
            return None;
        }
        let own =
            Wanted { name: name.to_owned(), deadline: capture.deadline(), cap: capture.cap(), group: 0 };
        let Some(list) = &self.captures else { return Some(own) };
        match list.iter().find(|it| it.name == name) {
            Some(wanted) => Some(wanted.clone()),
            None if name == "sysrq-h" && list.iter().any(|it| it.name.starts_with("sysrq-")) => Some(own),
            None => None,
        }
    }
}
