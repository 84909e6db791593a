//! A guest from its QEMU process.

use super::chardev::{Backend, Chardev};
use super::draft::{Draft, Found, absolute};
use super::process::{Facts, Process};
use super::{ConsoleAddress, ConsoleAt, FoundBy, QmpAddress};
use crate::config::QmpPolicy;

/// The name that says "this socket is vmward's own": it is held, and preferred to others.
pub const OWN_SOCKET: &str = "vmward";
/// EVE's event reader holds this one for as long as the guest lives; it is never touched.
const LISTENER: &str = "listener.qmp";

/// What the process says of its guest.
pub(super) fn draft(process: Process, facts: &Facts) -> Draft {
    let Facts { line, cwd, ptys } = facts;
    let cwd = cwd.as_deref();
    let by = FoundBy::Proc;
    let mut ptys = Ptys { known: ptys.clone(), wanted: line.ptys, next: 0 };
    let consoles = line
        .consoles
        .iter()
        .map(|(kind, chardev)| {
            let useless = |what: String, why: String| Found::Useless { by, what, why };
            let at = match &chardev.backend {
                Backend::Unix(path) => ConsoleAt::Unix(absolute(path, cwd)),
                Backend::Tcp(address) => ConsoleAt::Tcp(*address),
                Backend::Tty(path) => ConsoleAt::Tty(absolute(path, cwd)),
                Backend::Pty => match ptys.next() {
                    Ok(path) => ConsoleAt::Tty(path),
                    Err(why) => return useless("pty".to_owned(), why),
                },
                Backend::Useless { what, why } => return useless(what.clone(), (*why).to_owned()),
            };
            let logfile = chardev.logfile.as_deref().map(|it| absolute(it, cwd));
            let (mux, chardev) = (chardev.mux, chardev.id.clone());
            Found::Usable { by, at: ConsoleAddress { at, kind: *kind, mux, chardev, logfile } }
        })
        .collect();
    let mut qmp: Vec<Found<QmpAddress>> = line.qmp.iter().map(|it| monitor(it, cwd)).collect();
    qmp.sort_by_key(|it| !matches!(it, Found::Usable { at, .. } if at.policy == QmpPolicy::Hold));
    Draft {
        name: line.name.clone(),
        uuid: line.uuid,
        process: Some(process),
        qmp,
        consoles,
        disks: line.disks.clone(),
        found_by: vec![by],
        incoming: line.incoming,
        problems: Vec::new(),
    }
}

/// A socket that is not named for us may be somebody's, so it is only visited.
fn monitor(chardev: &Chardev, cwd: Option<&std::path::Path>) -> Found<QmpAddress> {
    let by = FoundBy::Proc;
    let useless = |what: String, why: &str| Found::Useless { by, what, why: why.to_owned() };
    match &chardev.backend {
        Backend::Unix(path) => {
            let path = absolute(path, cwd);
            let file = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
            if file == LISTENER {
                return useless(
                    path.display().to_string(),
                    "EVE's event reader holds it; it is never touched",
                );
            }
            let policy = if file.contains(OWN_SOCKET) { QmpPolicy::Hold } else { QmpPolicy::Brief };
            Found::Usable { by, at: QmpAddress { path, policy } }
        }
        Backend::Tcp(address) => useless(format!("tcp:{address}"), "QMP is used over unix sockets alone"),
        Backend::Tty(path) => useless(path.display().to_string(), "QMP is used over unix sockets alone"),
        Backend::Pty => useless("pty".to_owned(), "QMP is used over unix sockets alone"),
        Backend::Useless { what, why } => useless(what.clone(), why),
    }
}

/// Hands out a process's ptys in order; only when there are as many as the command line asks for is
/// it certain which is which.
struct Ptys {
    known: Result<Vec<std::path::PathBuf>, String>,
    wanted: usize,
    next: usize,
}

impl Ptys {
    fn next(&mut self) -> Result<std::path::PathBuf, String> {
        let known = self.known.as_ref().map_err(Clone::clone)?;
        if known.len() != self.wanted {
            let (has, wanted) = (known.len(), self.wanted);
            return Err(format!("QEMU has {has} ptys where {wanted} were asked for: give console.tty"));
        }
        let path = known.get(self.next).cloned();
        self.next = self.next.saturating_add(1);
        path.ok_or_else(|| "QEMU has no pty any more: give console.tty".to_owned())
    }
}
