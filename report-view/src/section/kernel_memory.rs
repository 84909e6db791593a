//! Who has the guest's memory: processes, slab, shared memory; zones.

use std::collections::BTreeMap;

use vmward_kernel_facts::machine::{Memory, MemoryZone, SlabCache};
use vmward_kernel_facts::{Machine, Task};

use super::bytes;
use crate::chart::Chart;
use crate::document::Block;
use crate::escape::Text;
use crate::value::{Tone, Value};

/// Processes and caches shown.
const MAX_USERS: usize = 10;

pub(super) fn blocks(chart: &Chart<'_>, machine: &Machine) -> Vec<Block> {
    let Some(memory) = &machine.memory else { return Vec::new() };
    let size = |pages: u64| bytes(pages.saturating_mul(memory.page_size));
    let of = |name: &str| size(memory.counter(name));
    let mut facts: Vec<(Text, Value)> = vec![
        ("all".into(), Value::number(size(memory.total))),
        ("free".into(), Value::number(of("nr_free_pages"))),
        ("processes' own".into(), Value::number(of("nr_anon_pages"))),
        ("files, active".into(), Value::number(of("nr_active_file"))),
        ("files, inactive".into(), Value::number(of("nr_inactive_file"))),
        ("shared and tmpfs".into(), Value::number(of("nr_shmem"))),
        ("slab, stays".into(), Value::number(of("nr_slab_unreclaimable"))),
        ("slab, reclaimable".into(), Value::number(of("nr_slab_reclaimable"))),
        ("dirty".into(), Value::number(of("nr_dirty"))),
        ("in writeback".into(), Value::number(of("nr_writeback"))),
    ];
    let (swap, free) = memory.swap;
    let used = size(swap.saturating_sub(free));
    facts.push((
        "swap used".into(),
        Value::number(if swap == 0 { "none".to_owned() } else { format!("{used} of {}", size(swap)) }),
    ));
    if memory.oom_kills() > 0 {
        facts.push(("killed for memory".into(), Value::badge(memory.oom_kills().to_string(), Tone::Warn)));
    }
    let mut inner = vec![Block::Facts(facts)];
    let users = users(chart.tasks.unwrap_or_default());
    if !users.is_empty() {
        inner.push(Block::Table { head: vec!["process", "pid", "resident", "swapped out"], rows: users });
    }
    let mut folded = Vec::new();
    folded.push(Block::Table {
        head: vec!["zone", "free", "min", "low", "high", "managed"],
        rows: memory.zones.iter().take(64).map(|it| zone(it, memory)).collect(),
    });
    if let Some(slab) = machine.slab.as_deref().filter(|it| !it.is_empty()) {
        let mut slab: Vec<&SlabCache> = slab.iter().collect();
        slab.sort_by_key(|it| std::cmp::Reverse(it.bytes));
        let row = |it: &&SlabCache| {
            vec![Value::from(&it.name), Value::number(bytes(it.bytes)), Value::number(it.objects.to_string())]
        };
        let rows = slab.iter().take(MAX_USERS).map(row).collect();
        folded.push(Block::Table { head: vec!["slab cache", "takes", "objects"], rows });
    }
    inner.push(Block::Fold { summary: "zones and slab caches".into(), open: false, blocks: folded });
    vec![Block::Headed { title: "Memory and who has it".into(), important: false, blocks: inner }]
}

/// The largest processes: threads share their process's memory.
fn users(tasks: &[Task]) -> Vec<Vec<Value>> {
    let mut processes: BTreeMap<u32, &Task> = BTreeMap::new();
    for task in tasks.iter().filter(|it| it.memory.is_some()) {
        let Some(group) = task.tgid.or(task.pid) else { continue };
        let entry = processes.entry(group).or_insert(task);
        if task.pid == Some(group) {
            *entry = task;
        }
    }
    let mut all: Vec<(u32, &Task, u64, u64)> = processes
        .into_iter()
        .filter_map(|(pid, task)| task.memory.map(|it| (pid, task, it.resident_bytes, it.swapped_bytes)))
        .collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.2.saturating_add(it.3)));
    let row = |(pid, task, resident, swapped): &(u32, &Task, u64, u64)| {
        let line: String = task.command_line.as_ref().unwrap_or(&task.comm).chars().take(80).collect();
        vec![
            Value::from(line),
            Value::number(pid.to_string()),
            Value::number(bytes(*resident)),
            Value::number(if *swapped == 0 { String::new() } else { bytes(*swapped) }),
        ]
    };
    all.iter().take(MAX_USERS).map(row).collect()
}

fn zone(it: &MemoryZone, memory: &Memory) -> Vec<Value> {
    let size = |pages: u64| Value::number(bytes(pages.saturating_mul(memory.page_size)));
    let free = match it.name.as_str() {
        "DMA" => size(it.free),
        _ if it.free < it.min => Value::badge(size(it.free).text, Tone::Alarm),
        _ => size(it.free),
    };
    vec![
        Value::from(format!("{} {}", it.node, it.name)),
        free,
        size(it.min),
        size(it.low),
        size(it.high),
        size(it.managed),
    ]
}
