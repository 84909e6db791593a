//! How much memory the guest had left, as its kernel counts it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Summary of the guest's memory (`show_mem()`: SysRq `m`, and inside OOM reports).
///
/// Pages are of the guest's page size, which the text does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemSummary {
    /// Free pages of all zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_pages: Option<u64>,
    /// Pages of RAM that the kernel knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_pages: Option<u64>,
    /// Of these, pages that it can not give out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_pages: Option<u64>,
    /// Free swap in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_free_kib: Option<u64>,
    /// All swap in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total_kib: Option<u64>,
    /// Counters in pages by the kernel's names (`active_anon`, `dirty`, `slab_unreclaimable`).
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Zones with their watermarks.
    #[serde(default)]
    pub zones: Vec<ZoneSummary>,
}

/// One memory zone with its watermarks, in KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneSummary {
    /// NUMA node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `HighMem`, `Movable`.
    pub name: String,
    /// Free memory.
    pub free_kib: u64,
    /// Below this only the kernel itself may allocate.
    pub min_kib: u64,
    /// Below this `kswapd` wakes.
    pub low_kib: u64,
    /// Up to this `kswapd` works.
    pub high_kib: u64,
}

impl MemSummary {
    /// A zone is below its `min` mark: allocations are failing or waiting for reclaim.
    pub fn is_exhausted(&self) -> bool {
        self.zones.iter().any(|it| it.name != "DMA" && it.free_kib < it.min_kib)
    }
}
