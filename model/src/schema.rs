//! JSON Schemas of every document that leaves the agent, for `cargo xtask gen` and for readers
//! written in other languages.

use schemars::{Schema, schema_for};

/// Name and schema of each document type.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("event", schema_for!(crate::Event)),
        ("incident", schema_for!(crate::Incident)),
        ("manifest", schema_for!(crate::Manifest)),
        ("observed", schema_for!(crate::observed::Observed)),
        ("probe-answer", schema_for!(crate::ProbeAnswer)),
        ("transport-status", schema_for!(crate::TransportStatus)),
    ]
}
