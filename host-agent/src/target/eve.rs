//! EVE's layout: one folder a guest, `ROOT/UUID.VERSION.NUMBER/` with `qmp`, `listener.qmp`, `cons`, `pid`
//! (lf-edge/eve, `pkg/pillar/hypervisor/kvm.go`).
//!
//! `qmp` is shared with EVE's own short connections: visited, never held. `listener.qmp` is held by EVE
//! for events and never touched. `cons` is a multiplexer with a UART and a virtconsole.

use std::path::Path;

use super::draft::{Draft, Found};
use super::process::process;
use super::{ConsoleAddress, ConsoleAt, FoundBy, QmpAddress};
use crate::config::{ConsoleKind, QmpPolicy};

/// Most folders that are looked at.
const MAX_GUESTS: usize = 4096;
/// EVE's id of the console's character device, for `chardev-send-break`.
const CHARDEV: &str = "charserial0";

/// The guests below `root`; none when there is no such folder.
pub(super) fn drafts(root: &Path) -> Result<Vec<Draft>, String> {
    let folders = match std::fs::read_dir(root) {
        Ok(folders) => folders,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("EVE's folder {} cannot be read: {e}", root.display())),
    };
    let paths = folders.take(MAX_GUESTS).filter_map(|it| it.ok().map(|it| it.path()));
    let mut drafts: Vec<Draft> = paths.filter_map(|it| draft(&it)).collect();
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(drafts)
}

fn draft(folder: &Path) -> Option<Draft> {
    let name = folder.file_name()?.to_str()?.to_owned();
    let (qmp, cons) = (folder.join("qmp"), folder.join("cons"));
    if !qmp.exists() && !cons.exists() {
        return None;
    }
    let by = FoundBy::Eve;
    let mut problems = Vec::new();
    let read = std::fs::read_to_string(folder.join("pid"));
    let process = match read.map(|it| it.trim().parse::<u32>()) {
        Ok(Ok(pid)) => {
            let found = process(pid);
            if found.is_none() {
                problems.push(format!("its pid file names {pid}, which is gone"));
            }
            found
        }
        Ok(Err(_)) => {
            problems.push("its pid file holds no process id".to_owned());
            None
        }
        // Then the process is found by its command line.
        Err(_) => None,
    };
    let listener = folder.join("listener.qmp");
    let mut monitors = vec![Found::Usable { by, at: QmpAddress { path: qmp, policy: QmpPolicy::Brief } }];
    if listener.exists() {
        let why = "EVE's event reader holds it; it is never touched".to_owned();
        monitors.push(Found::Useless { by, what: listener.display().to_string(), why });
    }
    let console = ConsoleAddress {
        at: ConsoleAt::Unix(cons),
        kind: ConsoleKind::Uart,
        mux: true,
        chardev: Some(CHARDEV.to_owned()),
        logfile: None,
    };
    Some(Draft {
        uuid: name.get(..36).and_then(|it| it.parse().ok()),
        name: Some(name),
        process,
        qmp: monitors,
        consoles: vec![Found::Usable { by, at: console }],
        found_by: vec![by],
        problems,
        ..Draft::default()
    })
}
