//! A small bundle for the tests of everybody who reads bundles.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use vmward_model::{
    Artifact, Class, Confidence, FORMAT, GuestId, GuestState, Incarnation, Incident, IncidentId,
    IncidentState, Manifest, Notice, Provenance, Rung, Sensitivity, Stamp, TransportKind, Verdict,
};

pub mod harmful;

use crate::digest::digest;
use crate::name;

/// 2026-11-21T10:00:00Z, that long after the host's boot.
pub fn stamp(mono_ms: u64) -> Stamp {
    Stamp { utc: jiff::Timestamp::constant(1_795_255_200, 0), mono_ms }
}

/// An incident that was examined.
pub fn incident() -> Incident {
    let opening = Verdict {
        class: Class::Suspect,
        confidence: Confidence::Likely,
        scenario: "app-label".into(),
        at: stamp(9_000),
        evidence: vec![],
    };
    Incident {
        format: FORMAT,
        id: IncidentId(Uuid::from_u128(7)),
        guest: GuestId(Uuid::from_u128(1)),
        guest_name: "web".into(),
        incarnation: Incarnation { pid: 1, start_ticks: 2, boot: 0 },
        state: IncidentState::Examining,
        guest_state: GuestState::Running,
        notice: Notice { scenario: "app-label".into(), at: stamp(9_000), first_failure: stamp(4_000) },
        opening,
        class: Class::DiskStall,
        findings: vec![],
        captures: vec![],
    }
}

/// Kinds and contents of the artifacts: three, two of them with the same content.
pub const CONTENTS: [(&str, &[u8]); 3] =
    [("console", b"Kernel panic"), ("raw", b"twice"), ("facts", b"twice")];

/// The manifest of a report of [`incident`] with these artifacts.
pub fn manifest(contents: &[(&str, &[u8])]) -> Manifest {
    let artifact = |(kind, bytes): &(&str, &[u8])| Artifact {
        kind: (*kind).into(),
        media_type: "text/plain".into(),
        sha256: digest(bytes),
        size: bytes.len() as u64,
        sensitivity: Sensitivity::Text,
        provenance: Provenance {
            capture: (*kind).into(),
            transport: TransportKind::Host,
            rung: Rung::L0,
            at: stamp(10_000),
            took_ms: 5,
            paused_us: 0,
        },
        truncated: false,
    };
    Manifest {
        format: FORMAT,
        writer: "vmward test".into(),
        written: stamp(20_000),
        host: "host".into(),
        incident: incident(),
        artifacts: contents.iter().map(artifact).collect(),
    }
}

/// Puts that bundle of [`CONTENTS`] into a folder of reports, beside others of the incident, and says
/// where.
///
/// # Errors
/// When it cannot be written.
pub fn folder(dir: &Path) -> io::Result<PathBuf> {
    let manifest = manifest(&CONTENTS);
    let names = (1..).map(|n| dir.join(name::bundle(manifest.incident.id, n)));
    let folder = names.into_iter().find(|it| !it.exists()).unwrap_or_else(|| dir.to_owned());
    fs::create_dir(&folder)?;
    fs::create_dir(folder.join(name::ARTIFACTS))?;
    for (_, bytes) in CONTENTS {
        fs::write(folder.join(name::artifact(&digest(bytes))), bytes)?;
    }
    fs::write(folder.join(name::MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(folder)
}
