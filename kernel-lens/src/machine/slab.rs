//! What the kernel's own small objects take: `slab_caches` of SLUB, the largest first.

use vmward_kernel_facts::machine::SlabCache;

use super::memory::{nodes, page_size};
use super::object::{Object, list, symbol};
use crate::{Kernel, ReadError};

/// The order of a slab is in the upper half of `oo.x`, objects of a slab in the lower one (`OO_SHIFT`).
const ORDER_SHIFT: u32 = 16;

/// Caches at most.
const MAX_CACHES: usize = 2048;

/// Reads every cache.
///
/// # Errors
/// What a read of the list or of a cache said.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<SlabCache>, ReadError> {
    let nodes: Vec<u64> = nodes(kernel)?.into_iter().map(|(number, _)| u64::from(number)).collect();
    let page = page_size(kernel);
    let mut caches = Vec::new();
    for link in list(kernel, symbol(kernel, "slab_caches")?)?.into_iter().take(MAX_CACHES) {
        let cache = Object::around(kernel, "kmem_cache", "list", link)?;
        let (mut slabs, mut objects) = (0u64, 0u64);
        for number in &nodes {
            let at = kernel.space.u64(node_at(cache, *number)?)?;
            if at == 0 {
                continue;
            }
            // Counted only with CONFIG_SLUB_DEBUG, which distributions have.
            let node = Object::new(kernel, "kmem_cache_node", at);
            slabs = slabs.saturating_add(node.number("nr_slabs")?);
            objects = objects.saturating_add(node.number("total_objects")?);
        }
        let order = cache.small("oo.x")? >> ORDER_SHIFT;
        caches.push(SlabCache {
            name: cache.text_behind("name")?.unwrap_or_default(),
            object_size: cache.small("size")?,
            objects,
            slabs,
            bytes: slabs.saturating_mul(page.checked_shl(order).unwrap_or(0)),
        });
    }
    caches.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(caches)
}

/// Where the pointer to a node's part lies: an array `node`, in v7.2 an array of structures `per_node`.
fn node_at(cache: Object<'_, '_>, number: u64) -> Result<u64, ReadError> {
    if cache.has("node") {
        return Ok(cache.address("node")?.wrapping_add(number * 8));
    }
    let types = &cache.kernel.types;
    let wrong = || ReadError::Inconsistent { what: "kmem_cache", virt: cache.at };
    let size = types.size("kmem_cache_per_node_ptrs").ok_or_else(wrong)?;
    let inside = types.offset("kmem_cache_per_node_ptrs", "node").ok_or_else(wrong)?;
    Ok(cache.address("per_node")?.wrapping_add(number.wrapping_mul(size)).wrapping_add(inside))
}
