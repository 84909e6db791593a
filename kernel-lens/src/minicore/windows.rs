//! Where the kernel's address space shows the pages of a minicore.

use std::collections::HashMap;

use vmward_kernel_facts::Examination;

use super::Window;
use crate::{Kernel, Opened, PAGE_SIZE};

/// Tasks that are asked where the direct map lies.
const WITNESSES: usize = 64;

/// The image, the direct map, and every page that was read at an address outside of both: stacks and modules
/// in the vmalloc area, per-CPU variables, fixed mappings.
pub(super) fn of(opened: &Opened<'_>, found: &Examination) -> Vec<Window> {
    let (kernel, image) = (&opened.kernel, &opened.image);
    let mut windows = vec![Window { virt: image.virt, phys: image.phys, len: image.len }];
    let direct = direct_map(kernel, found);
    if let Some(base) = direct {
        let ranges = kernel.space.memory().memory().ranges();
        windows.extend(ranges.iter().filter_map(|it| {
            Some(Window { virt: base.checked_add(it.start)?, phys: it.start, len: it.len() })
        }));
    }
    for (virt, phys) in kernel.space.translated() {
        if direct.is_some_and(|base| base.wrapping_add(phys) == virt) || image.contains(virt) {
            continue;
        }
        match windows.last_mut() {
            Some(last) if last.virt.checked_add(last.len) == Some(virt) && last.phys + last.len == phys => {
                last.len += PAGE_SIZE;
            }
            _ => windows.push(Window { virt, phys, len: PAGE_SIZE }),
        }
    }
    windows
}

/// The guest-virtual address of guest-physical address 0 in the direct map. Slab objects lie in it, so that
/// the tasks tell, on every architecture and whatever was randomised. The first task lies in the image.
fn direct_map(kernel: &Kernel<'_>, found: &Examination) -> Option<u64> {
    let mut votes: HashMap<u64, usize> = HashMap::new();
    for task in found.tasks.iter().filter(|it| it.pid != Some(0)).take(WITNESSES) {
        let Some(address) = task.address else { continue };
        let Ok(phys) = kernel.space.phys(address) else { continue };
        *votes.entry(address.wrapping_sub(phys)).or_default() += 1;
    }
    let (base, votes) = votes.into_iter().max_by_key(|it| (it.1, it.0))?;
    (votes > 1).then_some(base)
}
