//! What the guest's kernel says of its memory.

use std::borrow::Cow;

use vmward_kernel_facts::MemSummary;

use crate::Case;

/// The kernel's account of its memory: by SysRq, else as it was read.
pub(crate) fn seen(case: &Case) -> Option<Cow<'_, MemSummary>> {
    let told = case.kernel.memory.as_ref().map(Cow::Borrowed);
    told.or_else(|| Some(Cow::Owned(case.kernel.look.as_ref()?.machine.memory.as_ref()?.summary())))
}

/// Memory is short: every zone that matters is at or below the mark up to which the kernel frees
/// pages, and what could be freed cheaply is gone: swap is well used, or file pages are few.
pub(crate) fn is_short(memory: &MemSummary) -> bool {
    let zones: Vec<_> = memory.zones.iter().filter(|it| it.name != "DMA" && it.high_kib > 0).collect();
    let low = !zones.is_empty()
        && zones.iter().all(|it| it.free_kib <= it.high_kib.saturating_add(it.high_kib / 4));
    low && (swap_used_percent(memory).is_some_and(|it| it >= 20) || few_file_pages(memory))
}

/// Share of swap in use, in percent; `None` without swap.
pub(crate) fn swap_used_percent(memory: &MemSummary) -> Option<u64> {
    let total = memory.swap_total_kib.filter(|it| *it > 0)?;
    let used = total.saturating_sub(memory.swap_free_kib?);
    Some(used.saturating_mul(100) / total)
}

fn few_file_pages(memory: &MemSummary) -> bool {
    let counter = |name: &str| memory.counters.get(name).copied();
    let (Some(total), Some(active), Some(inactive)) =
        (memory.total_pages, counter("active_file"), counter("inactive_file"))
    else {
        return false;
    };
    active.saturating_add(inactive) < total / 20
}
