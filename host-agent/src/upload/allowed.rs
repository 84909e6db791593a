//! What may leave this host: artifacts by their sensitivity, and the words of a guest in what is sent
//! around them.

use std::collections::BTreeSet;

use vmward_model::exchange::ReportCommit;
use vmward_model::{Artifact, Digest, Event, EventKind, Evidence, Manifest, Sensitivity};

use crate::config::Config;

/// Stands for the words of a guest that do not leave.
const WITHHELD: &str = "withheld";

/// What the configuration lets go.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    config: Config,
}

impl Allowed {
    pub(super) fn new(config: &Config) -> Allowed {
        Allowed { config: config.clone() }
    }

    fn has(&self, it: Sensitivity) -> bool {
        self.config.upload.sensitivities.contains(&it)
    }

    /// Whether words that a guest wrote may leave.
    pub(super) fn text(&self) -> bool {
        self.has(Sensitivity::Text)
    }

    /// Digests that stay. A content that is listed twice has the higher sensitivity of both.
    pub(super) fn withheld(&self, manifest: &Manifest) -> BTreeSet<Digest> {
        let incident = &manifest.incident;
        let policy = self.config.policy_for(&incident.guest_name, Some(incident.guest.0));
        let stays = |it: &&Artifact| match it.sensitivity {
            Sensitivity::Memory => !(self.has(Sensitivity::Memory) && policy.upload_memory),
            other => !self.has(other),
        };
        manifest.artifacts.iter().filter(stays).map(|it| it.sha256.clone()).collect()
    }

    /// The event as it may leave.
    pub(super) fn event(&self, mut event: Event) -> Event {
        if self.text() {
            return event;
        }
        match &mut event.kind {
            EventKind::ConsoleTrouble { title, .. } => withhold(title),
            EventKind::ScenarioChanged { why, .. } => withhold(why),
            EventKind::Incident { summary, .. } => withhold(summary),
            EventKind::Qemu { data, .. } => *data = serde_json::Value::Null,
            EventKind::StateChanged { .. }
            | EventKind::AgentStarted { .. }
            | EventKind::AgentStopped
            | EventKind::GuestFound { .. }
            | EventKind::GuestGone
            | EventKind::Transport { .. }
            | EventKind::Note { .. } => {}
        }
        event
    }

    /// The report as it may leave.
    pub(super) fn report(&self, mut report: ReportCommit) -> ReportCommit {
        if self.text() {
            return report;
        }
        let incident = &mut report.manifest.incident;
        let evidence = |it: &mut Evidence| withhold(&mut it.text);
        incident.opening.evidence.iter_mut().for_each(evidence);
        for finding in &mut incident.findings {
            finding.evidence.iter_mut().for_each(evidence);
            finding.details.clear();
        }
        report
    }
}

fn withhold(text: &mut String) {
    if !text.is_empty() {
        *text = WITHHELD.to_owned();
    }
}
