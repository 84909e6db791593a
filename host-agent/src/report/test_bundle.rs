//! An incident and its artifacts for the tests of this module.

use std::path::Path;

use uuid::Uuid;
use vmward_model::*;

use super::{Content, Origin};

pub(super) fn stamp(mono_ms: u64) -> Stamp {
    Stamp { utc: "2026-11-21T10:00:00Z".parse().unwrap(), mono_ms }
}

pub(super) fn incident() -> Incident {
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

pub(super) fn content(kind: &str, bytes: &[u8]) -> Content {
    Content {
        kind: kind.into(),
        media_type: "text/plain".into(),
        sensitivity: Sensitivity::Text,
        provenance: Provenance {
            capture: kind.into(),
            transport: TransportKind::Host,
            rung: Rung::L0,
            at: stamp(10_000),
            took_ms: 5,
            paused_us: 0,
        },
        truncated: false,
        bytes: bytes.to_vec(),
    }
}

/// Three artifacts, two of them with the same content.
pub(super) fn contents() -> Vec<Content> {
    vec![content("console", b"Kernel panic"), content("raw", b"twice"), content("facts", b"twice")]
}

pub(super) fn origin() -> Origin {
    Origin { writer: "vmward test".into(), host: "host".into(), written: stamp(20_000) }
}

pub(super) fn write_here(dir: &Path) -> super::BundlePath {
    super::write(dir, &incident(), &contents(), &origin()).unwrap()
}
