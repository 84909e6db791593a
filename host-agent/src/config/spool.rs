//! `[spool]`: how much may wait for a controller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::ByteSize;
use crate::spool::Bound;

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// How many events and reports may wait. Beyond that the lowest severity is dropped first, the oldest
    /// within one.
    pub entries: u64,
    /// How much disk they may take, the bundles of waiting reports included.
    pub size: ByteSize,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { entries: 20_000, size: ByteSize::from_mib(512) }
    }
}

impl SpoolConfig {
    /// As the spool takes it.
    #[must_use]
    pub fn bound(&self) -> Bound {
        Bound { entries: self.entries, bytes: self.size.bytes() }
    }
}
