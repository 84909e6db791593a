//! The first file of a report: which incident it is about and every artifact it holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::incident::Incident;
use crate::time::Stamp;

/// The manifest of a report bundle. The bundle is this document and one file for each distinct
/// digest in `artifacts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// Program and version that wrote it.
    pub writer: String,
    /// When it was written.
    pub written: Stamp,
    /// The host's name, as it calls itself.
    pub host: String,
    /// The incident.
    pub incident: Incident,
    /// What is in the bundle.
    pub artifacts: Vec<Artifact>,
}
