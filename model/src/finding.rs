//! One named conclusion from a verdict and its captures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::{Class, Confidence, Evidence};

/// One conclusion. The words about it (user sentence, developer detail, next steps) are looked up
/// in a message catalogue by `code`; `details` fills their blanks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable code, `VW` and four digits.
    pub code: String,
    /// Stable short name of the rule that made it.
    pub rule: String,
    /// The class it would give to the incident.
    pub class: Class,
    /// How sure it is.
    pub confidence: Confidence,
    /// What it rests on, for and against.
    pub evidence: Vec<Evidence>,
    /// Values for the blanks of the catalogue's sentences. May hold guest text.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub details: std::collections::BTreeMap<String, String>,
}
