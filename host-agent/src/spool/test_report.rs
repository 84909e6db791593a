//! Reports for tests of the spool and the upload.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use vmward_model::{Class, FORMAT, Incident, IncidentId, Provenance, Rung, Sensitivity, TransportKind};

use crate::agent::clock;
use crate::report::{self, Content, Origin};

/// Writes a report of this class, the artifacts of which are so long and of sensitivity `of`.
pub(crate) fn write(
    folder: &Path,
    class: Class,
    of: Sensitivity,
    lengths: &[usize],
) -> (IncidentId, PathBuf) {
    let id = IncidentId(Uuid::now_v7());
    let at = clock::now();
    let incident: Incident = serde_json::from_value(serde_json::json!({
        "format": FORMAT, "id": id, "guest": Uuid::from_u128(1), "guest_name": "g",
        "incarnation": { "pid": 1, "start_ticks": 1, "boot": 0 },
        "state": "reported", "guest_state": "running",
        "notice": { "scenario": "s", "at": at, "first_failure": at },
        "opening": { "class": class, "confidence": "possible", "scenario": "s", "at": at, "evidence":
            [{ "source": "probe:s", "text": "the guest's own words", "supports": true }] },
        "class": class, "findings": [], "captures": [],
    }))
    .unwrap();
    let content = |(n, length): (usize, &usize)| Content {
        kind: "raw".into(),
        media_type: "text/plain".into(),
        sensitivity: of,
        provenance: Provenance {
            capture: "c".into(),
            transport: TransportKind::Host,
            rung: Rung::L0,
            at,
            took_ms: 1,
            paused_us: 0,
        },
        truncated: false,
        bytes: format!("{id} {n} ").into_bytes().into_iter().cycle().take(*length).collect(),
    };
    let contents: Vec<Content> = lengths.iter().enumerate().map(content).collect();
    let origin = Origin { writer: "test".into(), host: "h".into(), written: at };
    let path = report::write(folder, &incident, &contents, &origin).unwrap().path().to_owned();
    (id, path)
}
