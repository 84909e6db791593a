//! An incident and its artifacts for the tests of this module.

use std::path::Path;

use vmward_model::*;

use super::{Content, Origin};

pub(super) use vmward_bundle::sample::{incident, stamp};

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
