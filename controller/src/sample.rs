//! Documents as an agent would send them, for tests of the crate and of the program.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vmward_findings::{CASE_KIND, Case};
use vmward_model::exchange::{HostId, ReportCommit};
use vmward_model::{
    Artifact, Class, Confidence, Digest, Event, EventKind, FORMAT, GuestId, GuestState, Incarnation,
    Incident, IncidentId, IncidentState, Manifest, Notice, Provenance, Rung, Sensitivity, Severity, Stamp,
    TransportKind, Verdict,
};

/// A host whose identity is made from a number.
pub fn host(n: u128) -> HostId {
    HostId(Uuid::from_u128(n | (0xa << 96)))
}

/// A guest whose identity is made from a number.
pub fn guest(n: u128) -> GuestId {
    GuestId(Uuid::from_u128(n | (0xb << 96)))
}

/// An incident whose identity is made from a number; a larger one is newer.
pub fn incident_id(n: u128) -> IncidentId {
    IncidentId(Uuid::from_u128(n | (0xc << 96)))
}

/// A moment, so many seconds after the first of these documents.
pub fn at(second: i64) -> Stamp {
    let utc = Timestamp::from_second(1_760_000_000 + second).unwrap();
    Stamp { utc, mono_ms: u64::try_from(second).unwrap() * 1000 }
}

/// The name of a content.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(bytes).into())
}

/// An event of guest 1.
pub fn event(seq: u64, severity: Severity, kind: EventKind) -> Event {
    Event {
        format: FORMAT,
        seq,
        at: at(i64::try_from(seq).unwrap()),
        severity,
        guest: Some(guest(1)),
        name: Some("web-1".into()),
        incarnation: Some(life()),
        kind,
    }
}

/// An event that says nothing much.
pub fn note(seq: u64) -> Event {
    event(seq, Severity::Info, EventKind::Note { text: format!("note {seq}") })
}

/// An event of an incident of guest 1.
pub fn incident_event(seq: u64, id: IncidentId, what: &str, severity: Severity) -> Event {
    event(seq, severity, EventKind::Incident { id, what: what.into(), summary: format!("it was {what}") })
}

fn life() -> Incarnation {
    Incarnation { pid: 4711, start_ticks: 99, boot: 0 }
}

fn opening() -> Verdict {
    Verdict {
        class: Class::Suspect,
        confidence: Confidence::Likely,
        scenario: "app-label".into(),
        at: at(10),
        evidence: vec![],
    }
}

/// The case of an incident of guest 1 of which nothing but the verdict is known, as JSON.
pub fn case() -> Vec<u8> {
    serde_json::to_vec(&Case::new(guest(1), life(), GuestState::Running, opening())).unwrap()
}

fn artifact(kind: &str, bytes: &[u8]) -> Artifact {
    Artifact {
        kind: kind.into(),
        media_type: "application/json".into(),
        sha256: digest(bytes),
        size: bytes.len() as u64,
        sensitivity: Sensitivity::Status,
        provenance: Provenance {
            capture: kind.into(),
            transport: TransportKind::Host,
            rung: Rung::L0,
            at: at(11),
            took_ms: 1,
            paused_us: 0,
        },
        truncated: false,
    }
}

/// A report of host 1 on guest 1 that holds a case and these other contents.
pub fn report(id: IncidentId, class: Class, raw: &[&[u8]]) -> ReportCommit {
    let case = case();
    let mut artifacts = vec![artifact(CASE_KIND, &case)];
    artifacts.extend(raw.iter().map(|it| artifact("raw", it)));
    ReportCommit {
        host: host(1),
        manifest: Manifest {
            format: FORMAT,
            writer: "vmward test".into(),
            written: at(20),
            host: "alpha".into(),
            incident: Incident {
                format: FORMAT,
                id,
                guest: guest(1),
                guest_name: "web-1".into(),
                incarnation: life(),
                state: IncidentState::Reported,
                guest_state: GuestState::Running,
                notice: Notice { scenario: "app-label".into(), at: at(10), first_failure: at(5) },
                opening: opening(),
                class,
                findings: vec![],
                captures: vec![],
            },
            artifacts,
        },
        withheld: vec![],
    }
}
