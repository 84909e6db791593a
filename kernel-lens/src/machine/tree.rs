//! Everything that is stored in an xarray (also a radix tree, which is one since v4.20) or in a maple tree.
//!
//! Both keep pointers whose low bits tell nodes from what is stored: `include/linux/xarray.h`,
//! `include/linux/maple_tree.h`.

use std::collections::HashSet;

use super::object::Object;
use crate::{Kernel, ReadError};

/// Things found at most.
const MAX_FOUND: usize = 1 << 16;
/// Nodes visited at most.
const MAX_NODES: usize = 1 << 14;
/// Slots of a node of an xarray (`XA_CHUNK_SIZE`).
const CHUNK: u64 = 64;

/// Entries below this are marks of the tree's own (`xa_is_node()`).
const FIRST_POINTER: u64 = 4096;
/// The low bits of an entry that is a node, and of one that is a number.
const NODE: u64 = 2;
const VALUE: u64 = 1;

/// What is stored in an `xarray` at an address, ascending by index.
pub(crate) fn xarray(kernel: &Kernel<'_>, at: u64) -> Result<Vec<u64>, ReadError> {
    let root = Object::new(kernel, "xarray", at).number("xa_head")?;
    walk(root, |entry, next| {
        let node = Object::new(kernel, "xa_node", entry & !3);
        for slot in (0..CHUNK).rev() {
            next.push(node.element("slots", slot)?);
        }
        Ok(())
    })
}

/// What is stored in a `maple_tree` at an address, ascending.
pub(crate) fn maple(kernel: &Kernel<'_>, at: u64) -> Result<Vec<u64>, ReadError> {
    let root = Object::new(kernel, "maple_tree", at).number("ma_root")?;
    // Only the root is marked as a node; below, that follows from the kind of the node above.
    if root & 3 != NODE {
        return walk(root, |_, _| Ok(()));
    }
    walk(maple_node(root), |entry, next| {
        let (of, pivots) = match maple_kind(entry) {
            LEAF | INNER => ("maple_range_64", 15),
            INNER_WITH_GAPS => ("maple_arange_64", 9),
            _ => return Err(ReadError::Inconsistent { what: "maple_node", virt: entry }),
        };
        let node = Object::new(kernel, of, entry & !NODE_MASK);
        // What lies behind the last pivot in use is stale.
        let mut used = pivots + 1;
        for pivot in 0..pivots {
            let last = node.element("pivot", pivot)?;
            if last == u64::MAX || (last == 0 && pivot > 0) {
                used = pivot + 1;
                break;
            }
        }
        for slot in (0..used).rev() {
            let found = node.element("slot", slot)?;
            let leaf = maple_kind(entry) == LEAF;
            next.push(if leaf { found & !3 } else { maple_node(found) });
        }
        Ok(())
    })
}

/// Kinds of nodes, `enum maple_type`.
const LEAF: u64 = 1;
const INNER: u64 = 2;
const INNER_WITH_GAPS: u64 = 3;
/// A node is aligned to that; its kind is in the bits below (`mte_node_type()`).
const NODE_MASK: u64 = 255;

fn maple_kind(entry: u64) -> u64 {
    entry >> 3 & 15
}

/// The pointer to a node, marked as the root is.
fn maple_node(entry: u64) -> u64 {
    if entry & !NODE_MASK == 0 { 0 } else { entry & !3 | NODE }
}

/// Visits entries, those pushed last first; nodes push what is in them.
fn walk(
    root: u64,
    mut expand: impl FnMut(u64, &mut Vec<u64>) -> Result<(), ReadError>,
) -> Result<Vec<u64>, ReadError> {
    let (mut next, mut found, mut seen) = (vec![root], Vec::new(), HashSet::new());
    while let Some(entry) = next.pop() {
        if entry < FIRST_POINTER || entry & VALUE != 0 {
            continue;
        }
        if entry & 3 != NODE {
            found.push(entry);
            if found.len() >= MAX_FOUND {
                break;
            }
        } else if seen.len() < MAX_NODES && seen.insert(entry) {
            expand(entry, &mut next)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_through_nodes_in_order_and_ends_though_they_lead_in_circles() {
        // Three nodes; the last leads back to the first. Marks, numbers and empty slots are nothing found.
        let inside = |entry: u64| match entry {
            0x10002 => vec![0x20002, 0x5000, 0],
            0x20002 => vec![0x4000, 0x401, 2, 0x30002],
            _ => vec![0x10002, 0x6000],
        };
        let found = walk(0x10002, |entry, next| {
            next.extend(inside(entry).into_iter().rev());
            Ok(())
        });
        assert_eq!(found.unwrap(), [0x4000, 0x6000, 0x5000]);
        // One thing alone needs no node.
        assert_eq!(walk(0x7000, |_, _| Ok(())).unwrap(), [0x7000]);
    }
}
