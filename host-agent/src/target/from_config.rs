//! Guests that `vmward.toml` declares itself: an entry with a whole name or a UUID, and an address.

use super::draft::{Draft, Found};
use super::{ConsoleAddress, ConsoleAt, FoundBy, QmpAddress};
use crate::config::{Config, ConsoleEntry, ConsoleKind, GuestEntry, QmpPolicy};

/// The declared guests, in the order of the file.
pub(super) fn drafts(config: &Config) -> Vec<Draft> {
    config.guests.iter().filter_map(draft).collect()
}

fn draft(entry: &GuestEntry) -> Option<Draft> {
    let by = FoundBy::Config;
    if entry.qmp.is_none() && entry.console.is_none() {
        return None;
    }
    let name = entry.name.as_ref().filter(|it| it.is_plain()).map(|it| it.as_str().to_owned());
    if name.is_none() && entry.uuid.is_none() {
        return None;
    }
    let qmp = entry.qmp.iter().map(|it| {
        // Whoever writes the socket down gives it to us, unless told otherwise.
        let policy = it.policy.or(entry.qmp_policy).unwrap_or(QmpPolicy::Hold);
        Found::Usable { by, at: QmpAddress { path: it.path.clone(), policy } }
    });
    let consoles = entry.console.iter().filter_map(console).map(|at| Found::Usable { by, at });
    Some(Draft {
        name,
        uuid: entry.uuid,
        qmp: qmp.collect(),
        consoles: consoles.collect(),
        found_by: vec![by],
        ..Draft::default()
    })
}

fn console(entry: &ConsoleEntry) -> Option<ConsoleAddress> {
    let ConsoleEntry { unix, tcp, tty, mux, kind, chardev, logfile } = entry.clone();
    let at = match (unix, tcp, tty) {
        (Some(path), _, _) => ConsoleAt::Unix(path),
        (None, Some(address), _) => ConsoleAt::Tcp(address),
        (None, None, Some(path)) => ConsoleAt::Tty(path),
        (None, None, None) => return None,
    };
    Some(ConsoleAddress { at, kind: kind.unwrap_or(ConsoleKind::Uart), mux, chardev, logfile })
}
