//! A diagnosis: which captures are taken of a guest in trouble, in which order, within which bounds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vmward_model::Rung;

use super::units::{ByteSize, HumanDuration};

/// One `scenarios/diagnosis/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Diagnosis {
    /// Its name; scenarios refer to it by this.
    pub name: String,
    /// What it is for, in one sentence.
    pub summary: String,
    /// How long all of it may take.
    pub deadline: HumanDuration,
    /// The captures.
    #[serde(rename = "capture")]
    pub captures: Vec<CaptureSpec>,
}

/// One `[[capture]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CaptureSpec {
    /// Name of the capture, from the capture registry.
    pub name: String,
    /// The rung of the safety ladder that it may climb to.
    pub rung: Rung,
    /// How long it may take.
    pub deadline: HumanDuration,
    /// How much it may give; what is more is cut and marked.
    pub cap: ByteSize,
    /// Captures with the same number run in parallel; the groups run in rising order.
    #[serde(default)]
    pub group: u32,
}

impl Diagnosis {
    /// The captures group by group, each group in the order of the file.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<&CaptureSpec>> {
        let mut groups: BTreeMap<u32, Vec<&CaptureSpec>> = BTreeMap::new();
        for capture in &self.captures {
            groups.entry(capture.group).or_default().push(capture);
        }
        groups.into_values().collect()
    }
}
