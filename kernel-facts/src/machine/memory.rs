//! How the guest's memory is used, as its kernel counts it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{MemSummary, ZoneSummary};

/// One memory zone, in pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryZone {
    /// NUMA node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub name: String,
    /// Free pages.
    pub free: u64,
    /// Below this only the kernel itself may allocate.
    pub min: u64,
    /// Below this `kswapd` wakes.
    pub low: u64,
    /// Up to this `kswapd` works.
    pub high: u64,
    /// Pages that the allocator gives out at all.
    pub managed: u64,
    /// Free blocks by order: of 1 page, 2 pages, 4 pages and so on (`/proc/buddyinfo`).
    pub free_blocks: Vec<u64>,
}

/// One NUMA node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryNode {
    /// Its number.
    pub node: u32,
    /// Runs of `kswapd` in which nothing could be reclaimed; at 16 it gives up.
    pub kswapd_failures: u64,
    /// Tasks that reclaim memory here and were told to wait, where the kernel counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writeback_throttled: Option<u64>,
}

/// How the guest's memory is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Bytes of a page.
    pub page_size: u64,
    /// Pages that the kernel manages: `MemTotal`.
    pub total: u64,
    /// Nodes that are online.
    pub nodes: Vec<MemoryNode>,
    /// Zones that have memory.
    pub zones: Vec<MemoryZone>,
    /// Counters by their name in `/proc/vmstat`, of zones and nodes: `nr_dirty`, `nr_writeback`. Each CPU
    /// keeps a small part of each to itself, so that one may be a little wrong, and is 0 where it came out
    /// below that.
    pub counters: BTreeMap<String, u64>,
    /// Events since boot by their name in `/proc/vmstat`, those that happened: `pgfault`, `oom_kill`.
    pub events: BTreeMap<String, u64>,
    /// Pages of swap, all and free.
    pub swap: (u64, u64),
}

impl Memory {
    /// Times that the kernel killed a process for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.events.get("oom_kill").copied().unwrap_or(0)
    }

    /// A counter in pages; 0 if this kernel has none of the name.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// The same as SysRq `m` prints.
    pub fn summary(&self) -> MemSummary {
        let kib = |pages: u64| pages.saturating_mul(self.page_size) / 1024;
        let zone = |it: &MemoryZone| ZoneSummary {
            node: it.node,
            name: it.name.clone(),
            free_kib: kib(it.free),
            min_kib: kib(it.min),
            low_kib: kib(it.low),
            high_kib: kib(it.high),
        };
        let short = |name: &String| name.strip_prefix("nr_").unwrap_or(name).to_owned();
        MemSummary {
            free_pages: Some(self.counter("nr_free_pages")),
            total_pages: Some(self.total),
            reserved_pages: None,
            swap_free_kib: Some(kib(self.swap.1)),
            swap_total_kib: Some(kib(self.swap.0)),
            counters: self.counters.iter().map(|(name, pages)| (short(name), *pages)).collect(),
            zones: self.zones.iter().map(zone).collect(),
        }
    }

    /// The lines of `/proc/meminfo` that follow from the counters, in KiB.
    pub fn meminfo_kib(&self) -> BTreeMap<&'static str, u64> {
        let kib = |pages: u64| pages.saturating_mul(self.page_size) / 1024;
        let of = |name: &str| kib(self.counter(name));
        let reclaimable = of("nr_slab_reclaimable");
        let unreclaimable = of("nr_slab_unreclaimable");
        let anon = |kind: &str| of(&format!("nr_{kind}_anon"));
        let file = |kind: &str| of(&format!("nr_{kind}_file"));
        BTreeMap::from([
            ("MemTotal", kib(self.total)),
            ("MemFree", of("nr_free_pages")),
            ("SwapTotal", kib(self.swap.0)),
            ("SwapFree", kib(self.swap.1)),
            ("Active(anon)", anon("active")),
            ("Inactive(anon)", anon("inactive")),
            ("Active(file)", file("active")),
            ("Inactive(file)", file("inactive")),
            ("Unevictable", of("nr_unevictable")),
            ("Mlocked", of("nr_mlock")),
            ("Dirty", of("nr_dirty")),
            ("Writeback", of("nr_writeback")),
            ("AnonPages", of("nr_anon_pages")),
            ("Mapped", of("nr_mapped")),
            ("Shmem", of("nr_shmem")),
            ("SReclaimable", reclaimable),
            ("SUnreclaim", unreclaimable),
            ("Slab", reclaimable.saturating_add(unreclaimable)),
            // Counted in KiB itself.
            ("KernelStack", self.counter("nr_kernel_stack")),
            ("PageTables", of("nr_page_table_pages")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_in_kib_and_by_the_names_of_sysrq() {
        let mut memory = Memory { page_size: 4096, total: 1000, ..Default::default() };
        memory.counters.insert("nr_free_pages".into(), 10);
        memory.counters.insert("nr_slab_unreclaimable".into(), 3);
        memory.zones.push(MemoryZone { name: "Normal".into(), free: 10, min: 11, ..Default::default() });
        let summary = memory.summary();
        assert_eq!(summary.counters["slab_unreclaimable"], 3);
        assert!(summary.is_exhausted());
        assert_eq!(memory.meminfo_kib()["Slab"], 12);
        assert_eq!(memory.meminfo_kib()["MemTotal"], 4000);
        assert_eq!(memory.oom_kills(), 0);
    }
}
