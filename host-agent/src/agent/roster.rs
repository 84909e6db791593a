//! Which guests are watched just now: starts an actor for each that is found, and no second one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vmward_model::{EventKind, FORMAT, GuestId, Incarnation, Severity};

use super::events::About;
use super::examine::Examiner;
use super::guest::actor::{Manner, Shared};
use super::guest::memory::{self, Memory};
use super::guest::order::Order;
use super::guest::scenario::{BootDeadlines, QEMU_ANSWERS, Scenario};
use super::guest::ward::{self, Inputs};
use super::links::{Handles, Links, bind};
use super::paths;
use crate::config::{self, Loaded};
use crate::node::Reader;
use crate::target::Target;

/// Orders that may wait for an actor.
const ORDERS: usize = 16;
/// More guests than this on one host are not watched, and that is said.
const GUESTS: usize = 1000;

/// A guest that is watched, for those who have something to ask of it.
#[derive(Clone, Debug)]
pub struct Bed {
    /// Its identity.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// The way to its actor.
    pub orders: mpsc::Sender<Order>,
    /// Its transports.
    pub handles: Handles,
}

/// The guests by identity; a new map whenever one comes or goes.
pub type Beds = Arc<BTreeMap<GuestId, Bed>>;

/// The guests and what keeps them.
pub struct Roster {
    loaded: Arc<Loaded>,
    shared: Shared,
    durable: bool,
    kept: BTreeMap<GuestId, Kept>,
    beds: watch::Sender<Beds>,
}

struct Kept {
    incarnation: Option<Incarnation>,
    bed: Bed,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Roster {
    /// No guests yet. `durable` is false for what runs without an agent and must leave no trace.
    pub fn new(loaded: Arc<Loaded>, shared: Shared, durable: bool) -> Roster {
        let (beds, _) = watch::channel(Beds::default());
        Roster { loaded, shared, durable, kept: BTreeMap::new(), beds }
    }

    /// The guests, for readers.
    pub fn beds(&self) -> watch::Receiver<Beds> {
        self.beds.subscribe()
    }

    /// Takes what discovery found.
    pub fn found(&mut self, targets: Vec<Target>) {
        let before = self.kept.len();
        // An actor ends by itself when its guest is gone and everything about it is said.
        self.kept.retain(|_, it| !it.task.is_finished());
        // What was declared and has no process is known by other signs than the same guest with one:
        // it makes room, because a socket serves one client.
        let still = |id: &GuestId, it: &Kept| {
            it.incarnation.is_some()
                || targets.iter().any(|new| new.id == *id)
                    && !targets.iter().any(|new| new.id != *id && new.name == it.bed.name)
        };
        self.kept.retain(|id, it| still(id, it));
        let mut changed = before != self.kept.len();
        for target in targets {
            let policy = self.loaded.config.policy_for(&target.name, target.uuid);
            if !policy.watch {
                continue;
            }
            if let Some(kept) = self.kept.get(&target.id) {
                let renewed = kept.incarnation.is_none() && target.incarnation.is_some();
                if !renewed {
                    continue;
                }
                // It was declared before its process was found.
                self.kept.remove(&target.id);
            }
            // The incident of a process that has just gone comes first.
            if target.incarnation.is_none() && self.kept.values().any(|it| it.bed.name == target.name) {
                continue;
            }
            if self.kept.len() >= GUESTS {
                tracing::error!(name = ?target.name, "more than {GUESTS} guests: this one is not watched");
                continue;
            }
            let kept = self.start(&target, policy);
            self.kept.insert(target.id, kept);
            changed = true;
        }
        if changed {
            let beds = self.kept.iter().map(|(id, it)| (*id, it.bed.clone())).collect();
            self.beds.send_replace(Arc::new(beds));
        }
    }

    fn start(&self, target: &Target, policy: config::GuestPolicy) -> Kept {
        let state = &self.loaded.config.state;
        let incarnation = target.incarnation.unwrap_or(Incarnation { pid: 0, start_ticks: 0, boot: 0 });
        let folder = self.durable.then(|| paths::guests(state));
        let left = folder.as_deref().and_then(|it| memory::read(it, target.id));
        let left = left.filter(|it| it.incarnation.same_process(&incarnation));
        let memory = left.unwrap_or_else(|| Memory {
            format: FORMAT,
            guest: target.id,
            name: target.name.clone(),
            incarnation,
            passed: Default::default(),
            incident: None,
        });
        let about = About {
            guest: target.id,
            name: target.name.clone(),
            incarnation: target.incarnation.map(|_| memory.incarnation),
        };
        let by = target.found_by.first().map_or("config", |it| it.name()).to_owned();
        self.shared.events.emit(Severity::Info, Some(&about), EventKind::GuestFound { by });

        let configured = self.configured(&policy, &about);
        let rings = paths::consoles(state);
        let (links, seen) = Links::start(target, &configured, &policy, &rings, state.console_ring.bytes());
        let boot = BootDeadlines { whole: policy.boot_deadline.get(), root: policy.root_deadline.get() };
        let bound = configured.iter().filter_map(|it| bind(it, boot)).collect();
        let scenarios = with_qemu(bound, boot);
        let manner = Manner { scenarios, diagnosis: self.deadline(&configured) };
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (guest, name, handles) = (target.id, target.name.clone(), links.handles.clone());
        let bed = Bed { guest, name, orders, handles };
        let ports = Arc::new(Examiner {
            handles: links.handles.clone(),
            scenarios: Arc::new(configured),
            diagnoses: Arc::new(self.loaded.diagnoses.clone()),
            policy,
            reports: paths::reports(state),
            reports_cap: state.reports_cap.bytes(),
            events: self.shared.events.clone(),
            looks: self.shared.looks.clone(),
            spool: self.shared.spool.clone(),
            run_folder: state.run_folder.clone(),
            reader: Reader::default(),
        });
        let inputs = Inputs { seen, orders: ordered };
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            let _links = links;
            ward::keep(about, manner, ports, shared, memory, folder, inputs).await;
        });
        Kept { incarnation: target.incarnation, bed, task }
    }

    fn configured(&self, policy: &config::GuestPolicy, about: &About) -> Vec<config::Scenario> {
        let mut found = Vec::new();
        for name in &policy.scenarios {
            match self.loaded.scenarios.get(name) {
                Some(it) => found.push(it.clone()),
                None => {
                    let text = format!("no scenario is called {name:?}: it is not asked");
                    self.shared.events.emit(Severity::Error, Some(about), EventKind::Note { text });
                }
            }
        }
        found
    }

    /// The longest deadline among the diagnoses that its scenarios run.
    fn deadline(&self, scenarios: &[config::Scenario]) -> std::time::Duration {
        let of = |it: &config::Scenario| self.loaded.diagnoses.get(&it.diagnosis).map(|it| it.deadline.get());
        scenarios.iter().filter_map(of).max().unwrap_or(std::time::Duration::from_secs(60))
    }
}

/// Adds the scenario that every guest has, unless one of its own asks the same.
fn with_qemu(mut scenarios: Vec<Scenario>, boot: BootDeadlines) -> Vec<Scenario> {
    let named = scenarios.iter().any(|it| it.name == QEMU_ANSWERS || it.asks("qmp-status"));
    if !named {
        scenarios.extend(Scenario::qemu_answers(boot));
    }
    scenarios
}
