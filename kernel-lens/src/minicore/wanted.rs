//! Memory that a debugger asks for and the examination did not.

use std::collections::HashSet;
use std::ops::Range;

use vmward_kernel_facts::{Examination, Frame, Task};

use super::Policy;
use crate::kernel::{is_stack_size, stack_size};
use crate::unwind::{End, Unwinder};
use crate::vmcoreinfo::VmcoreInfo;
use crate::{AddressSpace, Kernel, PAGE_SIZE};

/// Tasks whose stacks are taken whole. Of more there are the pages that their frames were read from.
const MAX_WHOLE_STACKS: usize = 1024;
/// Code around one frame at most, to each side.
const MAX_CODE: u64 = 8 << 10;
/// Nodes of the tree of process ids at most: 64 ids each.
const MAX_NODES: usize = 4096;
/// Bytes of one range at most: the variables of a kernel that debugs its locks.
const MAX_RANGE: u64 = 64 << 20;
/// CPUs whose variables are taken.
const MAX_CPUS: usize = 64;
/// NUMA nodes at most.
const MAX_NODES_OF_MEMORY: u64 = 64;
/// Roots of the table of memory sections at most: those of 57-bit physical addresses.
const MAX_SECTION_ROOTS: u64 = 1 << 17;
/// Pages of each kind at most, so that no guest makes the reader large.
const MAX_NEAR: usize = 12 << 10;
const MAX_FAR: usize = 8 << 10;
/// Functions whose code crash reads before it takes a command, and how much of it: whether they keep frame
/// pointers, how a CPU gets to its interrupt stack, where a task goes on that slept, where an idle
/// task begins (crash x86_64.c).
const LOOKED_AT: [(&str, u64); 12] = [
    ("__schedule", 8 << 10),
    ("common_interrupt", 2 << 10),
    ("do_idle", 2 << 10),
    ("cpu_startup_entry", 16),
    ("start_secondary", 2 << 10),
    ("do_futex", 16),
    ("vfs_read", 16),
    ("__x64_sys_fork", 16),
    ("__x64_sys_open", 16),
    ("__x64_sys_read", 16),
    ("sys_open", 16),
    ("sys_read", 16),
];
/// Pages above a user stack pointer.
const USER_STACK: u64 = 4;

/// Guest-virtual addresses, and the page tables that map them where they are not the kernel's.
pub(super) struct Wanted {
    ranges: Vec<Range<u64>>,
    user: Vec<(u64, Range<u64>)>,
    max_pages: usize,
}

/// What shows tasks and their stacks.
pub(super) fn near(kernel: &Kernel<'_>, found: &Examination, policy: Policy) -> Wanted {
    let mut ranges = Vec::new();
    let size = kernel.types.size("task_struct").unwrap_or(0);
    ranges.extend(found.tasks.iter().filter_map(|it| sized(it.address?, size)));
    let by_type = || kernel.types.size("thread_union").filter(is_stack_size);
    let stack = stack_size(&kernel.symbols).or_else(by_type).unwrap_or(0);
    if found.tasks.len() <= MAX_WHOLE_STACKS {
        let low = |it: &Task| kernel.word(it.address?, "task_struct", "stack").ok();
        ranges.extend(found.tasks.iter().filter_map(|it| sized(low(it)?, stack)));
    }
    let stacks = found.tasks.iter().map(|it| &it.stack).chain(found.cpus.iter().map(|it| &it.stack));
    let mut seen = HashSet::new();
    for frame in stacks.flatten() {
        ranges.extend(code(frame).filter(|it| seen.insert(it.clone())));
    }
    let size = kernel.types.size("module").unwrap_or(0);
    ranges.extend(kernel.modules().iter().filter_map(|it| sized(it.address, size)));
    ranges.extend(process_ids(kernel).unwrap_or_default());
    let user = if policy == Policy::User { user_pages(kernel, found) } else { Vec::new() };
    Wanted { ranges, user, max_pages: MAX_NEAR }
}

/// The kernel's variables (of the image, and of each CPU), its modules, and what crash reads before it takes
/// a command. Sections between those of the image are given back after boot and may be anybody's.
pub(super) fn far(kernel: &Kernel<'_>, info: Option<&VmcoreInfo>) -> Wanted {
    const SECTIONS: [(&str, &str); 3] =
        [("_sdata", "_edata"), ("__bss_start", "__bss_stop"), ("__start_rodata", "__end_rodata")];
    let section = |(from, to)| Some(kernel.symbol(from)?..kernel.symbol(to)?);
    let mut ranges: Vec<Range<u64>> = SECTIONS.into_iter().filter_map(section).collect();
    let per_cpu = section(("__per_cpu_start", "__per_cpu_end"));
    let len = per_cpu.and_then(|it| it.end.checked_sub(it.start)).unwrap_or(0);
    let bases = kernel.cpus().iter().take(MAX_CPUS).filter_map(|it| kernel.per_cpu("__per_cpu_start", *it));
    ranges.extend(bases.filter_map(|it| sized(it, len)));
    ranges.extend(LOOKED_AT.iter().filter_map(|(name, len)| sized(kernel.symbol(name)?, *len)));
    ranges.extend(nodes(kernel).into_iter().chain(sections(kernel, info).unwrap_or_default()));
    ranges.extend(kernel.modules().iter().flat_map(|it| &it.parts).map(|it| it.range.clone()));
    Wanted { ranges, user: Vec::new(), max_pages: MAX_FAR }
}

/// `struct pglist_data` of each NUMA node, where there is more than the one in the image.
fn nodes(kernel: &Kernel<'_>) -> Vec<Range<u64>> {
    let size = kernel.types.size("pglist_data").unwrap_or(0);
    let Some(table) = kernel.symbol("node_data") else { return Vec::new() };
    let node = |number: u64| kernel.space.u64(table.checked_add(number * 8)?).ok();
    (0..MAX_NODES_OF_MEMORY).map_while(|it| sized(node(it)?, size)).collect()
}

/// The table of memory sections (`mem_section` with `CONFIG_SPARSEMEM_EXTREME`: a table of pages of them,
/// allocated at boot since v4.15, commit 83e3c48729d9).
fn sections(kernel: &Kernel<'_>, info: Option<&VmcoreInfo>) -> Option<Vec<Range<u64>>> {
    let roots = info?.length("mem_section")?.min(MAX_SECTION_ROOTS);
    let table = kernel.space.u64(kernel.symbol("mem_section")?).ok()?;
    let mut ranges = vec![sized(table, roots * 8)?];
    // Sections are numbered from address 0: behind the first roots there is memory of nobody's.
    let bytes = kernel.space.bytes(table, PAGE_SIZE as usize).ok()?;
    let words = bytes.chunks_exact(8).filter_map(|it| it.try_into().ok().map(u64::from_le_bytes));
    ranges.extend(words.filter(|it| *it != 0).filter_map(|it| sized(it, PAGE_SIZE)));
    Some(ranges)
}

impl Wanted {
    /// Takes them into the record, as many as may be; says how many pages could not be read.
    pub(super) fn fetch(&self, kernel: &Kernel<'_>) -> u64 {
        let recorder = kernel.space.memory();
        let (mut unreadable, mut left) = (0, self.max_pages);
        let mut take = |space: &AddressSpace<'_>, range: &Range<u64>| {
            for page in pages(range) {
                if left == 0 {
                    return;
                }
                // What is not mapped is not there: given back, or swapped out.
                let Ok(phys) = space.phys(page) else { continue };
                left -= 1;
                unreadable += u64::from(recorder.read(phys, &mut [0]).is_err());
            }
        };
        for range in &self.ranges {
            take(&kernel.space, range);
        }
        for (root, range) in &self.user {
            take(&AddressSpace::new(recorder, kernel.space.paging().with_root(*root)), range);
        }
        unreadable
    }
}

fn pages(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    let count = range.end.saturating_sub(range.start).min(MAX_RANGE).div_ceil(PAGE_SIZE);
    // A range that begins inside of a page may end inside of one more.
    let more = u64::from(!range.start.is_multiple_of(PAGE_SIZE));
    let (first, end) = (range.start - range.start % PAGE_SIZE, range.end);
    (0..count + more).map(move |it| first.wrapping_add(it * PAGE_SIZE)).filter(move |it| *it < end)
}

fn sized(at: u64, len: u64) -> Option<Range<u64>> {
    (at != 0 && len != 0).then_some(at..at.checked_add(len)?)
}

/// The function that a frame is in, as far as it is near.
fn code(frame: &Frame) -> Option<Range<u64>> {
    let address = frame.address?;
    let before = frame.offset.unwrap_or(0).min(MAX_CODE);
    let behind = frame.size.unwrap_or(0).saturating_sub(before).clamp(1, MAX_CODE);
    Some(address.checked_sub(before)?..address.checked_add(behind)?)
}

/// The tree of process ids with what it leads to (`init_pid_ns.idr`, since v4.15 commit 95846ecf9dac; an
/// XArray since v4.20): drgn and crash find tasks by it. `xa_head` and slots: include/linux/xarray.h,
/// an entry with the low bits 10 is a node.
fn process_ids(kernel: &Kernel<'_>) -> Option<Vec<Range<u64>>> {
    let root = kernel.symbol("init_pid_ns")?;
    let head = kernel.offset("pid_namespace", "idr.idr_rt.xa_head")?;
    let slots = kernel.offset("xa_node", "slots")?;
    let n_slots = kernel.types.array_len("xa_node", "slots")?.min(64);
    let node_size = kernel.types.size("xa_node")?;
    let pid_size = kernel.types.size("pid")?;
    let mut ranges = vec![sized(root, kernel.types.size("pid_namespace")?)?];
    let mut todo = vec![kernel.space.u64(root.checked_add(head)?).ok()?];
    let mut seen = HashSet::new();
    while let Some(entry) = todo.pop() {
        let node = entry & !3;
        if entry & 3 != 2 || entry <= PAGE_SIZE {
            ranges.extend(sized(node, pid_size));
            continue;
        }
        if seen.len() >= MAX_NODES || !seen.insert(node) {
            continue;
        }
        ranges.extend(sized(node, node_size));
        let Some(at) = node.checked_add(slots) else { continue };
        let Ok(bytes) = kernel.space.bytes(at, n_slots as usize * 8) else { continue };
        let words = bytes.chunks_exact(8).filter_map(|it| it.try_into().ok().map(u64::from_le_bytes));
        todo.extend(words.filter(|it| *it != 0));
    }
    Some(ranges)
}

/// Of each process that entered the kernel, the pages at its instruction and stack pointers.
fn user_pages(kernel: &Kernel<'_>, found: &Examination) -> Vec<(u64, Range<u64>)> {
    let unwinder = Unwinder::new(kernel);
    let mut pages = Vec::new();
    for address in found.tasks.iter().filter_map(|it| it.address) {
        let End::User(entry) = unwinder.sleeping(address).end else { continue };
        let root = || {
            let mm = kernel.word(address, "task_struct", "mm").ok().filter(|it| *it != 0)?;
            kernel.space.phys(kernel.word(mm, "mm_struct", "pgd").ok()?).ok()
        };
        let Some(root) = root() else { continue };
        pages.extend(
            [(entry.ip, 1), (entry.sp, USER_STACK * PAGE_SIZE)]
                .map(|(at, len)| (root, at..at.saturating_add(len))),
        );
    }
    pages
}
