//! `mem`: memory by zone, and who has it.

use vmward_kernel_facts::{Examination, Task};

use super::super::Output;
use super::{name, number};

/// Rows of those that have most.
const TOP: usize = 12;

/// Lines of `/proc/meminfo` that say who has the memory.
const USERS: [(&str, &str); 12] = [
    ("free", "MemFree"),
    ("anonymous", "AnonPages"),
    ("files, active", "Active(file)"),
    ("files, inactive", "Inactive(file)"),
    ("shared", "Shmem"),
    ("unevictable", "Unevictable"),
    ("slab, reclaimable", "SReclaimable"),
    ("slab, not reclaimable", "SUnreclaim"),
    ("kernel stacks", "KernelStack"),
    ("page tables", "PageTables"),
    ("dirty", "Dirty"),
    ("under writeback", "Writeback"),
];

pub(super) fn show(found: &Examination, out: &mut Output) {
    let Some(memory) = &found.machine.memory else {
        out.line("How memory is used could not be read.");
        return;
    };
    let kib = |pages: u64| (pages.saturating_mul(memory.page_size) / 1024).to_string();
    let zones: Vec<[String; 7]> = memory
        .zones
        .iter()
        .map(|it| {
            [
                it.node.to_string(),
                it.name.clone(),
                kib(it.managed),
                kib(it.free),
                kib(it.min),
                kib(it.low),
                kib(it.high),
            ]
        })
        .collect();
    out.table(["NODE", "ZONE", "KIB", "FREE", "MIN", "LOW", "HIGH"], &zones).line("");
    let lines = memory.meminfo_kib();
    let users: Vec<[String; 2]> = USERS
        .iter()
        .map(|(what, line)| [(*what).to_owned(), lines.get(line).copied().unwrap_or(0).to_string()])
        .collect();
    out.table(["USE", "KIB"], &users);
    let swap = memory.swap;
    out.line(&format!(
        "of {} KiB; swap {} KiB, {} free; killed for want of memory: {}",
        kib(memory.total),
        kib(swap.0),
        kib(swap.1),
        memory.oom_kills()
    ));
    slab(found, out);
    tasks(found, out);
}

fn slab(found: &Examination, out: &mut Output) {
    let mut caches: Vec<_> = found.machine.slab.iter().flatten().collect();
    caches.sort_by_key(|it| std::cmp::Reverse(it.bytes));
    let rows: Vec<[String; 4]> = caches
        .into_iter()
        .take(TOP)
        .map(|it| {
            let kib = (it.bytes / 1024).to_string();
            [it.name.clone(), kib, it.objects.to_string(), it.object_size.to_string()]
        })
        .collect();
    if !rows.is_empty() {
        out.line("").table(["SLAB CACHE", "KIB", "OBJECTS", "BYTES EACH"], &rows);
    }
}

fn tasks(found: &Examination, out: &mut Output) {
    // Threads share what their process has.
    let leads = |it: &&Task| it.tgid.is_none() || it.tgid == it.pid;
    let resident = |it: &Task| it.memory.as_ref().map_or(0, |it| it.resident_bytes);
    let mut tasks: Vec<&Task> = found.tasks.iter().filter(leads).filter(|it| resident(it) > 0).collect();
    tasks.sort_by_key(|it| std::cmp::Reverse(resident(it)));
    let rows: Vec<[String; 5]> = tasks
        .into_iter()
        .take(TOP)
        .filter_map(|it| {
            let memory = it.memory.as_ref()?;
            let kib = |bytes: u64| (bytes / 1024).to_string();
            Some([
                number(it.pid),
                name(it),
                kib(memory.resident_bytes),
                kib(memory.anonymous_bytes),
                kib(memory.swapped_bytes),
            ])
        })
        .collect();
    if !rows.is_empty() {
        out.line("").table(["PID", "NAME", "RESIDENT KIB", "ANONYMOUS", "SWAPPED"], &rows);
    }
}
