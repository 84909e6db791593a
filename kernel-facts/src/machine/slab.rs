//! What the kernel's own small objects take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One cache of objects of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlabCache {
    /// Its name.
    pub name: String,
    /// Bytes of an object, with what surrounds it.
    pub object_size: u32,
    /// Objects that its slabs have room for.
    pub objects: u64,
    /// Slabs.
    pub slabs: u64,
    /// Bytes that they take; a little less if memory was too scattered for full slabs.
    pub bytes: u64,
}
