//! Tasks, blocked ones first, identical stacks folded; then what the CPUs ran, and memory.

use vmward_kernel_facts::{Frame, MemSummary, StackGroup, Task, fold_stacks, wait_of_stack};

use super::section as make;
use crate::chart::{Chart, Sysrq};
use crate::document::{Block, Line, Section};
use crate::escape::Text;

/// Groups of equal stacks shown of each list.
const MAX_GROUPS: usize = 100;
/// Names shown of one group.
const MAX_NAMES: usize = 8;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let mut blocks = Vec::new();
    if let Some(it) = &chart.sysrq {
        blocks.push(sysrq(it));
    }
    if let Some(tasks) = chart.blocked {
        let count = tasks.len();
        blocks.push(Block::Para(Text::new(match count {
            0 => "No task is blocked.".to_owned(),
            1 => "1 task is blocked:".to_owned(),
            _ => format!("{count} tasks are blocked:"),
        })));
        blocks.extend(folded(tasks, true));
    }
    if let Some(cpus) = chart.cpus.filter(|it| !it.is_empty()) {
        blocks.push(Block::Para("What the CPUs ran:".into()));
        for it in cpus {
            let what = match (&it.comm, it.pid) {
                _ if it.idle => "idle".to_owned(),
                (Some(comm), Some(pid)) => format!("{comm} (pid {pid})"),
                (Some(comm), None) => comm.clone(),
                _ => "something".to_owned(),
            };
            let place = if it.user_mode { " in user mode" } else { "" };
            let at = it.pc.as_ref().map_or(String::new(), |it| format!(" at {it}"));
            let summary = Text::new(format!("CPU {}: {what}{place}{at}", it.cpu));
            blocks.push(match stack(&it.stack) {
                Some(lines) => Block::Fold { summary, open: !it.idle, blocks: vec![lines] },
                None => Block::Items(vec![summary]),
            });
        }
    }
    if let Some(it) = chart.memory {
        blocks.push(memory(it));
    }
    if let Some(tasks) = chart.tasks.filter(|it| !it.is_empty()) {
        let summary = Text::new(format!("all {} tasks", tasks.len()));
        blocks.push(Block::Fold { summary, open: false, blocks: folded(tasks, false) });
    }
    if chart.tasks.is_none() && chart.blocked.is_none() && !blocks.is_empty() {
        blocks.push(Block::Para("No list of tasks was got.".into()));
    }
    make("tasks", "Tasks and CPUs of the guest", blocks)
}

fn sysrq(seen: &Sysrq) -> Block {
    let keys = |it: &[char]| it.iter().map(char::to_string).collect::<Vec<_>>().join(" ");
    let mut facts = Vec::new();
    for (name, list) in [
        ("SysRq answered", &seen.answered),
        ("SysRq refused by the kernel's mask", &seen.refused),
        ("SysRq without an answer", &seen.silent),
    ] {
        if !list.is_empty() {
            facts.push((name.into(), Text::new(keys(list))));
        }
    }
    facts.push(("SysRq sent by".into(), Text::new(&seen.path)));
    Block::Facts(facts)
}

fn folded(tasks: &[Task], open: bool) -> Vec<Block> {
    let groups = fold_stacks(tasks);
    let mut blocks: Vec<Block> = groups.iter().take(MAX_GROUPS).map(|it| group(tasks, it, open)).collect();
    if groups.len() > MAX_GROUPS {
        blocks.push(Block::Para(Text::new(format!(
            "{} more kinds are in the bundle.",
            groups.len() - MAX_GROUPS
        ))));
    }
    blocks
}

fn group(tasks: &[Task], group: &StackGroup, open: bool) -> Block {
    let name = |idx: &usize| {
        tasks.get(*idx).map_or(String::new(), |it| match it.pid {
            Some(pid) => format!("{} (pid {pid})", it.comm),
            None => it.comm.clone(),
        })
    };
    let mut names = group.members.iter().take(MAX_NAMES).map(name).collect::<Vec<_>>().join(", ");
    if group.members.len() > MAX_NAMES {
        names.push_str(&format!(" and {} more", group.members.len() - MAX_NAMES));
    }
    let state = group.state.map_or('?', |it| it.letter());
    let waits = match wait_of_stack(&group.stack) {
        Some(kind) if state != 'R' => format!(", waits for {}", format!("{kind:?}").to_lowercase()),
        _ => String::new(),
    };
    let summary = Text::new(format!("{} x {state}{waits}: {names}", group.members.len()));
    match stack(&group.stack) {
        Some(lines) => Block::Fold { summary, open, blocks: vec![lines] },
        None => Block::Items(vec![summary]),
    }
}

fn stack(frames: &[Frame]) -> Option<Block> {
    let lines: Vec<Line> = frames.iter().take(64).map(|it| Line::plain(it.to_string())).collect();
    (!lines.is_empty()).then_some(Block::Lines(lines))
}

fn memory(seen: &MemSummary) -> Block {
    let mut rows = Vec::new();
    for it in &seen.zones {
        let cells = [
            format!("{} {}", it.node, it.name),
            it.free_kib.to_string(),
            it.min_kib.to_string(),
            it.high_kib.to_string(),
        ];
        rows.push(cells.iter().map(Text::new).collect());
    }
    let swap = match (seen.swap_free_kib, seen.swap_total_kib) {
        (Some(free), Some(total)) => format!("swap: {free} of {total} KiB free"),
        _ => "swap: not told".to_owned(),
    };
    let table = Block::Table { head: vec!["zone", "free KiB", "min", "high"], rows };
    Block::Fold { summary: Text::new(format!("memory; {swap}")), open: false, blocks: vec![table] }
}
