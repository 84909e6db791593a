//! Puts together what every way of finding says.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::draft::Draft;
use super::process::{Facts, Process, list, read_facts};
use super::{Discovered, FoundBy, Target, eve, from_config, from_proc};
use crate::config::Config;

/// How long one search waits for command lines that were not read yet.
const READING: Duration = Duration::from_millis(800);

/// Finds guests again and again. What was read of a process is kept while it lives, so that a QEMU that
/// wedges after it was seen keeps its identity, and none is ever read by two threads.
#[derive(Debug, Default)]
pub struct Finder {
    known: BTreeMap<Process, Option<Facts>>,
    reading: BTreeMap<Process, Receiver<Option<Facts>>>,
}

impl Finder {
    /// A finder that has not looked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for guests. Takes at most about a second, whatever state they are in; blocking, so call it
    /// off the reactor.
    pub fn find(&mut self, config: &Config) -> Discovered {
        let mut problems = Vec::new();
        let eve = match config.discovery.eve {
            true => eve::drafts(&config.discovery.eve_root).unwrap_or_else(|why| {
                problems.push(why);
                Vec::new()
            }),
            false => Vec::new(),
        };
        let declared = from_config::drafts(config);
        let running = if config.discovery.proc || !declared.is_empty() || !eve.is_empty() {
            self.running(&mut problems)
        } else {
            Vec::new()
        };
        let mut drafts: Vec<Draft> = Vec::new();
        // In the order of trust: the first one's words stand.
        for draft in declared.into_iter().chain(eve).chain(running) {
            match drafts.iter_mut().find(|it| it.same(&draft)) {
                Some(known) => known.absorb(draft),
                None => drafts.push(draft),
            }
        }
        drafts.retain(|it| config.discovery.proc || it.found_by != [FoundBy::Proc]);
        // While a guest moves between two QEMUs of this host, the one that waits comes second.
        drafts.sort_by_key(|it| it.incoming);
        let mut targets: Vec<Target> = Vec::new();
        for mut target in drafts.into_iter().map(Draft::finish) {
            let policy = config.policy_for(&target.name, target.uuid);
            if let (Some(qmp), Some(policy)) = (&mut target.qmp, policy.qmp_policy) {
                qmp.policy = policy;
            }
            match targets.iter_mut().find(|it| it.id == target.id) {
                Some(first) => {
                    let pid = target.pid().map_or_else(|| "none".to_owned(), |it| it.to_string());
                    first
                        .problems
                        .push(format!("a second QEMU (pid {pid}) has the same identity; it is not watched"));
                }
                None => targets.push(target),
            }
        }
        targets.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        Discovered { targets, problems }
    }

    /// What every QEMU process says, as far as it could be read.
    fn running(&mut self, problems: &mut Vec<String>) -> Vec<Draft> {
        let processes = match list() {
            Ok(processes) => processes,
            Err(e) => {
                problems.push(format!("/proc cannot be read: {e}"));
                return Vec::new();
            }
        };
        self.known.retain(|it, _| processes.contains(it));
        self.reading.retain(|it, _| processes.contains(it));
        for process in &processes {
            if !self.known.contains_key(process) && !self.reading.contains_key(process) {
                self.reading.insert(*process, read_facts(*process));
            }
        }
        let until = Instant::now() + READING;
        let mut waiting: Vec<Process> = self.reading.keys().copied().collect();
        while !waiting.is_empty() && Instant::now() < until {
            waiting.retain(|it| !self.poll(*it));
            if !waiting.is_empty() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        for it in waiting {
            problems.push(format!(
                "the command line of QEMU process {} cannot be read: its memory is locked in the host kernel \
                 (look at /proc/{}/wchan)",
                it.pid, it.pid
            ));
        }
        let said = processes.iter().filter_map(|it| Some((it, self.known.get(it)?.as_ref()?)));
        said.map(|(process, facts)| from_proc::draft(*process, facts)).collect()
    }

    /// Whether the reading of that process is over.
    fn poll(&mut self, process: Process) -> bool {
        let Some(receiver) = self.reading.get(&process) else { return true };
        match receiver.try_recv() {
            Ok(facts) => {
                self.reading.remove(&process);
                // What could not be read may be readable next time (a process between fork and exec).
                if facts.is_some() {
                    self.known.insert(process, facts);
                }
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.reading.remove(&process);
                true
            }
        }
    }
}

/// Looks for guests once.
#[must_use]
pub fn discover(config: &Config) -> Discovered {
    Finder::new().find(config)
}
