//! How the guest's memory is used: zones with their marks, the counters of `/proc/vmstat`, OOM kills.
//!
//! Names of counters come from the kernel's own table (`vmstat_text`), so that whatever a kernel counts is
//! found by the name that it prints.

use std::collections::BTreeMap;

use vmward_kernel_facts::machine::{Memory, MemoryNode, MemoryZone};

use super::object::{Object, symbol};
use crate::arch::Paging;
use crate::{Kernel, ReadError};

/// Nodes at most (`MAX_NUMNODES` with the largest `CONFIG_NODES_SHIFT`).
const MAX_NODES: u64 = 1024;
const MAX_ZONES: u64 = 8;
const MAX_ORDERS: u64 = 32;
/// Counters of one kind at most.
const MAX_COUNTERS: u64 = 512;
const MAX_NAME: usize = 64;

/// Reads it.
///
/// # Errors
/// What a read of a node or a counter said.
pub fn read(kernel: &Kernel<'_>) -> Result<Memory, ReadError> {
    let mut memory = Memory { page_size: page_size(kernel), ..Default::default() };
    memory.total = kernel.space.u64(symbol(kernel, "_totalram_pages")?)?;
    for (number, node) in nodes(kernel)? {
        memory.zones.extend(zones(kernel, number, node)?);
        memory.nodes.push(MemoryNode {
            node: number,
            kswapd_failures: node.number("kswapd_failures")?,
            writeback_throttled: node.number("nr_writeback_throttled").ok(),
        });
    }
    counters(kernel, &mut memory)?;
    let pages = |name| kernel.symbol(name).and_then(|it| kernel.space.u64(it).ok()).unwrap_or(0);
    memory.swap = (pages("total_swap_pages"), pages("nr_swap_pages"));
    Ok(memory)
}

pub(super) fn page_size(kernel: &Kernel<'_>) -> u64 {
    match kernel.space.paging() {
        Paging::X86_64(_) => 4096,
        Paging::Aarch64(it) => 1 << it.granule.shift(),
    }
}

/// The nodes that are online. Without NUMA there is one, `contig_page_data`.
pub(super) fn nodes<'k, 'm>(kernel: &'k Kernel<'m>) -> Result<Vec<(u32, Object<'k, 'm>)>, ReadError> {
    let Some(table) = kernel.symbol("node_data") else {
        return Ok(vec![(0, Object::symbol(kernel, "pglist_data", "contig_page_data")?)]);
    };
    let size = kernel.types.size("nodemask_t").unwrap_or(8).min(MAX_NODES / 8);
    let online = kernel.types.enumerator("N_ONLINE").unwrap_or(1).unsigned_abs();
    let mask = symbol(kernel, "node_states")?.wrapping_add(size.wrapping_mul(online));
    let mut nodes = Vec::new();
    for number in 0..size * 8 {
        let word = kernel.space.u64(mask.wrapping_add(number / 64 * 8))?;
        if word & (1 << (number % 64)) == 0 {
            continue;
        }
        let at = kernel.space.u64(table.wrapping_add(number * 8))?;
        if at != 0 {
            nodes.push((number as u32, Object::new(kernel, "pglist_data", at)));
        }
    }
    Ok(nodes)
}

fn zones(kernel: &Kernel<'_>, number: u32, node: Object<'_, '_>) -> Result<Vec<MemoryZone>, ReadError> {
    let wrong = ReadError::Inconsistent { what: "zone", virt: node.at };
    let size = kernel.types.size("zone").ok_or(wrong)?;
    let (first, count) = (node.address("node_zones")?, node.number("nr_zones")?.min(MAX_ZONES));
    let mut zones = Vec::new();
    for index in 0..count {
        let zone = Object::new(kernel, "zone", first.wrapping_add(index * size));
        if zone.number("present_pages")? != 0 {
            zones.push(read_zone(kernel, number, zone)?);
        }
    }
    Ok(zones)
}

fn read_zone(kernel: &Kernel<'_>, node: u32, zone: Object<'_, '_>) -> Result<MemoryZone, ReadError> {
    // `watermark` until v5.0 (commit a921444382b4); a boost lifts all three.
    let marks = if zone.has("_watermark") { "_watermark" } else { "watermark" };
    let boost = zone.number("watermark_boost").unwrap_or(0);
    let mark = |index| Ok::<_, ReadError>(zone.element(marks, index)?.wrapping_add(boost));
    let free = kernel.types.enumerator("NR_FREE_PAGES").unwrap_or(0).unsigned_abs();
    let orders = kernel.types.size("free_area").filter(|it| *it > 0).map_or(0, |each| {
        let all = kernel.types.member("zone", "free_area").map_or(0, |it| it.size);
        (all / each).min(MAX_ORDERS)
    });
    let area = kernel.types.size("free_area").unwrap_or(0);
    let areas = zone.address("free_area")?;
    let blocks = |order| {
        Object::new(kernel, "free_area", areas.wrapping_add(area.wrapping_mul(order))).number("nr_free")
    };
    Ok(MemoryZone {
        node,
        name: zone.text_behind("name")?.unwrap_or_default(),
        free: not_negative(zone.element("vm_stat", free)?),
        min: mark(0)?,
        low: mark(1)?,
        high: mark(2)?,
        managed: zone.number("managed_pages")?,
        free_blocks: (0..orders).map(blocks).collect::<Result<_, _>>()?,
    })
}

/// Counters are sums of what CPUs hand in; one may be below zero for a moment, and the kernel prints 0.
fn not_negative(value: u64) -> u64 {
    u64::try_from(value.cast_signed()).unwrap_or(0)
}

/// Counters and events by the names of `vmstat_text`: zones, NUMA, nodes, others, events, one behind the
/// other (`mm/vmstat.c`).
fn counters(kernel: &Kernel<'_>, memory: &mut Memory) -> Result<(), ReadError> {
    let items =
        |name: &str| kernel.types.enumerator(name).map_or(0, |it| it.unsigned_abs().min(MAX_COUNTERS));
    let names = symbol(kernel, "vmstat_text")?;
    let of_zones = items("NR_VM_ZONE_STAT_ITEMS");
    // NUMA items are events since v5.14 (commit f19298b9516c).
    let of_numa = items("NR_VM_NUMA_EVENT_ITEMS") + items("NR_VM_NUMA_STAT_ITEMS");
    let of_nodes = items("NR_VM_NODE_STAT_ITEMS");
    // Renamed in v6.11 (commit f4cb78af91e3).
    let others = items("NR_VM_WRITEBACK_STAT_ITEMS") + items("NR_VM_STAT_ITEMS");
    let zones = values(kernel, symbol(kernel, "vm_zone_stat")?, of_zones)?;
    named(kernel, names, zones, &mut memory.counters)?;
    let at = names.wrapping_add((of_zones + of_numa) * 8);
    named(kernel, at, values(kernel, symbol(kernel, "vm_node_stat")?, of_nodes)?, &mut memory.counters)?;
    let at = at.wrapping_add((of_nodes + others) * 8);
    let of_events = items("NR_VM_EVENT_ITEMS");
    let mut events = vec![0u64; of_events as usize];
    for cpu in kernel.cpus() {
        let Some(place) = kernel.per_cpu("vm_event_states", *cpu) else { break };
        for (sum, value) in events.iter_mut().zip(values(kernel, place, of_events)?) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut all = BTreeMap::new();
    named(kernel, at, events, &mut all)?;
    // Counted in sectors and printed in KiB (`vmstat_start()`).
    for name in ["pgpgin", "pgpgout"] {
        all.entry(name.to_owned()).and_modify(|it| *it /= 2);
    }
    memory.events = all.into_iter().filter(|(_, count)| *count != 0).collect();
    Ok(())
}

fn values(kernel: &Kernel<'_>, at: u64, count: u64) -> Result<Vec<u64>, ReadError> {
    let bytes = kernel.space.bytes(at, count as usize * 8)?;
    let words = bytes.chunks_exact(8).filter_map(|it| it.try_into().ok());
    Ok(words.map(|it| not_negative(u64::from_le_bytes(it))).collect())
}

fn named(
    kernel: &Kernel<'_>,
    names: u64,
    values: Vec<u64>,
    into: &mut BTreeMap<String, u64>,
) -> Result<(), ReadError> {
    for (index, value) in (0..).zip(values) {
        let name: u64 = kernel.space.u64(names.wrapping_add(index * 8))?;
        // A kernel leaves holes in the table for what it was not built with.
        if name != 0 {
            into.insert(kernel.space.text(name, MAX_NAME)?, value);
        }
    }
    Ok(())
}
