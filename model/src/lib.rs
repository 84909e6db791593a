//! The shared vocabulary of vmward: identities, guest states, probe answers, verdicts, events,
//! captures and what they saw, artifacts, incidents, findings and the report manifest.
//!
//! Plain serde types with JSON Schema. No I/O, no clock, no knowledge of QEMU's wire: whoever
//! fills these types brings the facts. Everything that is written to disk or sent carries
//! [`FORMAT`], and unknown fields of a newer writer are ignored by an older reader.

pub mod artifact;
pub mod capture;
pub mod event;
pub mod exchange;
pub mod finding;
pub mod guest;
pub mod id;
pub mod incident;
pub mod manifest;
pub mod observed;
pub mod probe;
pub mod schema;
pub mod time;
pub mod transport;
pub mod verdict;

pub use artifact::{Artifact, Provenance, Rung, Sensitivity};
pub use capture::{CaptureOutcome, CaptureRecord};
pub use event::{Event, EventKind, Severity};
pub use finding::Finding;
pub use guest::{GuestInput, GuestState};
pub use id::{Digest, GuestId, Incarnation, IncidentId};
pub use incident::{Incident, IncidentInput, IncidentState, Notice};
pub use manifest::Manifest;
pub use probe::{Answer, ProbeAnswer};
pub use time::Stamp;
pub use transport::{TransportKind, TransportStatus};
pub use verdict::{Class, Confidence, Evidence, Verdict};

/// Version of the serialised forms in this crate. Raised only when an older reader would
/// misread a newer document; a new optional field does not raise it.
pub const FORMAT: u32 = 1;

/// What a state machine's pure `next` function says to an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition<S> {
    /// The input changes nothing.
    Stay,
    /// The input moves the machine to this state.
    Go(S),
    /// The input makes no sense in this state; the machine stays and the caller logs it.
    Illegal,
}

impl<S> Transition<S> {
    /// The state to be in afterwards, given the state before.
    pub fn or(self, before: S) -> S {
        match self {
            Transition::Go(after) => after,
            Transition::Stay | Transition::Illegal => before,
        }
    }
}
