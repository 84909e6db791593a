//! A guest while it is put together: everything that any way of finding said of it.

use std::path::Path;

use uuid::Uuid;
use vmward_model::{GuestId, Incarnation, TransportKind, TransportStatus};

use super::process::Process;
use super::reach::{socket_problem, tty_problem};
use super::{ConsoleAddress, ConsoleAt, FoundBy, QmpAddress, Target};
use crate::config::ConsoleKind;

/// What is known so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: Option<String>,
    pub(super) uuid: Option<Uuid>,
    pub(super) process: Option<Process>,
    pub(super) qmp: Vec<Found<QmpAddress>>,
    pub(super) consoles: Vec<Found<ConsoleAddress>>,
    pub(super) disks: Vec<String>,
    pub(super) found_by: Vec<FoundBy>,
    pub(super) incoming: bool,
    pub(super) problems: Vec<String>,
}

/// An address, or words for one that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    Usable { by: FoundBy, at: T },
    Useless { by: FoundBy, what: String, why: String },
}

impl Draft {
    /// Whether both speak of the same guest.
    pub(super) fn same(&self, other: &Draft) -> bool {
        match (self.process, other.process) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let sockets = |it: &Draft| -> Vec<std::path::PathBuf> {
                    let usable = |found: &Found<QmpAddress>| match found {
                        Found::Usable { at, .. } => Some(at.path.clone()),
                        Found::Useless { .. } => None,
                    };
                    it.qmp.iter().filter_map(usable).collect()
                };
                let ours = sockets(self);
                (self.uuid.is_some() && self.uuid == other.uuid)
                    || (self.name.is_some() && self.name == other.name)
                    || sockets(other).iter().any(|it| ours.contains(it))
            }
        }
    }

    /// Takes in what `other`, found by a way that is trusted less, adds.
    pub(super) fn absorb(&mut self, other: Draft) {
        self.name = self.name.take().or(other.name);
        self.uuid = self.uuid.or(other.uuid);
        self.process = self.process.or(other.process);
        for found in other.qmp {
            if !self.qmp.iter().any(|it| it.same_place(&found, |a, b| a.path == b.path)) {
                self.qmp.push(found);
            }
        }
        for found in other.consoles {
            if !self.consoles.iter().any(|it| it.same_place(&found, |a, b| a.at == b.at)) {
                self.consoles.push(found);
            }
        }
        if self.disks.is_empty() {
            self.disks = other.disks;
        }
        self.found_by.extend(other.found_by);
        self.found_by.sort_unstable();
        self.found_by.dedup();
        self.incoming |= other.incoming;
        self.problems.extend(other.problems);
    }

    /// Decides what is used, and says of the rest why not.
    pub(super) fn finish(self) -> Target {
        let mut transports = Vec::new();
        let qmp = choose(self.qmp, TransportKind::Qmp, &mut transports, |at: &QmpAddress| {
            (at.path.display().to_string(), socket_problem(&at.path))
        });
        let mut consoles = self.consoles;
        // A UART before a virtconsole: it knows BREAK. The sort keeps the order otherwise.
        consoles.sort_by_key(|it| matches!(it, Found::Usable { at, .. } if at.kind == ConsoleKind::Hvc));
        let console =
            choose(consoles, TransportKind::Console, &mut transports, |at: &ConsoleAddress| match &at.at {
                ConsoleAt::Unix(path) => (path.display().to_string(), socket_problem(path)),
                ConsoleAt::Tcp(address) => (format!("tcp:{address}"), None),
                ConsoleAt::Tty(path) => (path.display().to_string(), tty_problem(path)),
            });
        let by = self.found_by.first().copied().unwrap_or(FoundBy::Proc);
        for (kind, any) in [(TransportKind::Qmp, "no QMP monitor"), (TransportKind::Console, "no console")] {
            if !transports.iter().any(|it| it.kind == kind) {
                transports.push(status(kind, "-".to_owned(), by, Some(format!("this guest has {any}"))));
            }
        }
        transports.push(match self.process {
            Some(it) => status(TransportKind::Host, format!("pid {}", it.pid), by, None),
            None => {
                status(TransportKind::Host, "-".to_owned(), by, Some("no QEMU process was found".to_owned()))
            }
        });
        let mut problems = self.problems;
        let given = self.name.map(|it| shortened(it, &mut problems));
        let name = given.unwrap_or_else(|| match (self.uuid, self.process) {
            (Some(uuid), _) => uuid.to_string(),
            (None, Some(it)) => {
                problems.push(
                    "it has neither a name nor a UUID: it is another guest after each restart".to_owned(),
                );
                format!("pid-{}", it.pid)
            }
            (None, None) => "unnamed".to_owned(),
        });
        let id = self.uuid.map_or_else(|| GuestId::from_name_and_disks(&name, &self.disks), GuestId);
        Target {
            id,
            uuid: self.uuid,
            name,
            incarnation: self.process.map(|it| Incarnation {
                pid: it.pid,
                start_ticks: it.start_ticks,
                boot: 0,
            }),
            qmp,
            console,
            disks: self.disks,
            found_by: self.found_by,
            transports,
            problems,
        }
    }
}

/// Longest name that is kept, in characters; managers allow 255 bytes at most.
const MAX_NAME: usize = 256;

/// It stands in every event and in every row of a table, and anybody on this host may start a QEMU.
fn shortened(name: String, problems: &mut Vec<String>) -> String {
    match name.char_indices().nth(MAX_NAME) {
        None => name,
        Some((end, _)) => {
            problems.push(format!("its name is longer than {MAX_NAME} characters: the rest is left out"));
            name.get(..end).unwrap_or_default().to_owned()
        }
    }
}

impl<T> Found<T> {
    fn same_place(&self, other: &Found<T>, same: impl Fn(&T, &T) -> bool) -> bool {
        match (self, other) {
            (Found::Usable { at: a, .. }, Found::Usable { at: b, .. }) => same(a, b),
            (Found::Useless { what: a, .. }, Found::Useless { what: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// The first that can be used; a status line for each.
fn choose<T>(
    all: Vec<Found<T>>,
    kind: TransportKind,
    transports: &mut Vec<TransportStatus>,
    look: impl Fn(&T) -> (String, Option<String>),
) -> Option<T> {
    let mut chosen = None;
    for found in all {
        match found {
            Found::Useless { by, what, why } => transports.push(status(kind, what, by, Some(why))),
            Found::Usable { by, at } => {
                let (address, problem) = look(&at);
                let spare = chosen.is_some() && problem.is_none();
                let problem =
                    if spare { Some("not needed: another one is used".to_owned()) } else { problem };
                if chosen.is_none() && problem.is_none() {
                    chosen = Some(at);
                }
                transports.push(status(kind, address, by, problem));
            }
        }
    }
    chosen
}

fn status(kind: TransportKind, address: String, by: FoundBy, problem: Option<String>) -> TransportStatus {
    TransportStatus { kind, address, found_by: by.name().to_owned(), problem }
}

/// `path` as seen from the working folder of the process that wrote it.
pub(super) fn absolute(path: &Path, cwd: Option<&Path>) -> std::path::PathBuf {
    cwd.map_or_else(|| path.to_owned(), |cwd| cwd.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_end_is_cut_and_that_is_said() {
        let named = |name: &str| Draft { name: Some(name.to_owned()), ..Draft::default() }.finish();
        let long = named(&"ü".repeat(100_000));
        assert_eq!(long.name.chars().count(), MAX_NAME);
        assert!(long.problems.iter().any(|it| it.contains("256 characters")), "{:?}", long.problems);
        assert!(named("web").problems.is_empty());
    }
}
