//! Tasks with equal stacks folded, blocked ones first, then running ones, then the rest; what the
//! CPUs ran; memory.

use std::collections::BTreeSet;

use vmward_kernel_facts::{
    Frame, MemSummary, StackGroup, Task, TaskKind, TaskState, WaitKind, fold_stacks, wait_of_stack,
};

use super::{age, section as make};
use crate::chart::{Chart, Sysrq};
use crate::document::{Block, Line, Section, TaskGroup};
use crate::escape::Text;
use crate::value::{Tone, Value};

/// Groups of equal stacks shown of each list.
const MAX_GROUPS: usize = 100;
/// Names shown in the first line of a group.
const SOME_NAMES: usize = 6;
/// Names shown of one group.
const MAX_NAMES: usize = 500;
/// Frames shown of one stack.
const MAX_FRAMES: usize = 64;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let mut blocks = Vec::new();
    let (blocked, running, rest) = by_state(chart);
    if chart.blocked.is_some() || !blocked.is_empty() {
        let title = match blocked.len() {
            0 => "No task is blocked".to_owned(),
            1 => "1 task is blocked".to_owned(),
            n => format!("{n} tasks are blocked"),
        };
        blocks.push(Block::Headed { title: title.into(), important: false, blocks: folded(&blocked, true) });
    }
    if !running.is_empty() {
        let tasks = if running.len() == 1 { "task runs or wants" } else { "tasks run or want" };
        let title = format!("{} {tasks} to", running.len());
        blocks.push(Block::Headed { title: title.into(), important: false, blocks: folded(&running, true) });
    }
    blocks.extend(cpus(chart));
    if !rest.is_empty() {
        let summary = format!("{} other tasks", rest.len());
        blocks.push(Block::Fold { summary: summary.into(), open: false, blocks: folded(&rest, false) });
    }
    blocks.extend(chart.memory.map(memory));
    if let Some(it) = &chart.sysrq {
        blocks.push(sysrq(it));
    }
    if chart.tasks.is_none() && chart.blocked.is_none() && !blocks.is_empty() {
        blocks.push(Block::Para("No list of tasks was got.".into()));
    }
    make("tasks", "Tasks and CPUs of the guest", blocks)
}

/// Blocked, running, and other tasks. The list of blocked tasks and the list of all were taken one
/// after the other: a task that was blocked in either is.
fn by_state(chart: &Chart<'_>) -> (Vec<Task>, Vec<Task>, Vec<Task>) {
    let mut blocked: Vec<Task> = chart.blocked.unwrap_or_default().to_vec();
    let known: BTreeSet<u32> = blocked.iter().filter_map(|it| it.pid).collect();
    let (mut running, mut rest) = (Vec::new(), Vec::new());
    for task in chart.tasks.unwrap_or_default() {
        match task.state {
            _ if task.pid.is_some_and(|pid| known.contains(&pid)) => {}
            // A CPU's own rest: what the CPUs ran is told beside.
            _ if task.kind == Some(TaskKind::Idle) => {}
            Some(TaskState::D) => blocked.push(task.clone()),
            Some(TaskState::R) => running.push(task.clone()),
            _ => rest.push(task.clone()),
        }
    }
    (blocked, running, rest)
}

fn folded(tasks: &[Task], open: bool) -> Vec<Block> {
    let groups = fold_stacks(tasks);
    if groups.is_empty() {
        return Vec::new();
    }
    let shown = groups.iter().take(MAX_GROUPS).map(|it| group(tasks, it, open)).collect();
    let mut blocks = vec![Block::Tasks(shown)];
    if groups.len() > MAX_GROUPS {
        let text = format!("{} more kinds are in the bundle.", groups.len() - MAX_GROUPS);
        blocks.push(Block::Para(text.into()));
    }
    blocks
}

fn group(tasks: &[Task], group: &StackGroup, open: bool) -> TaskGroup {
    let name = |idx: &usize| {
        tasks.get(*idx).map_or(String::new(), |it| match it.pid {
            Some(pid) => format!("{} (pid {pid})", it.comm),
            None => it.comm.clone(),
        })
    };
    let names = |most: usize| {
        let mut names = group.members.iter().take(most).map(name).collect::<Vec<_>>().join(", ");
        if group.members.len() > most {
            names.push_str(&format!(" and {} more", group.members.len() - most));
        }
        Text::new(names)
    };
    let waits = wait_of_stack(&group.stack).filter(|_| group.state != Some(TaskState::R));
    let what = match (waits, group.state) {
        (Some(kind), _) => waits_for(kind),
        (None, Some(state)) => state.name().to_owned(),
        (None, None) => "in a state that was lost".to_owned(),
    };
    // The frame that says what is waited for, or where a running task is.
    let first = tasks.get(group.members.first().copied().unwrap_or(usize::MAX));
    let channel = first.filter(|it| it.is_blocked()).and_then(Task::wait_channel);
    let mut marked = false;
    let stack = group.stack.iter().take(MAX_FRAMES).map(|it| {
        let here = !marked && channel == Some(it);
        marked |= here;
        Line { mark: here.then(|| "waits here".into()), ..frame(it) }
    });
    // How long they have been there, where it was read from memory.
    let ages = group.members.iter().filter_map(|it| tasks.get(*it)?.in_state).map(|it| it.ns / 1_000_000);
    let what = match ages.max().filter(|_| group.state != Some(TaskState::R)) {
        Some(ms) if group.members.len() == 1 => format!("{what} for {}", age(ms)),
        Some(ms) => format!("{what} for up to {}", age(ms)),
        None => what,
    };
    TaskGroup {
        count: group.members.len(),
        state: group.state.map_or('?', TaskState::letter).to_string().into(),
        tone: match group.state {
            Some(TaskState::D) => Tone::Alarm,
            Some(TaskState::R) => Tone::Good,
            Some(TaskState::Z | TaskState::X) => Tone::Warn,
            _ => Tone::Quiet,
        },
        what: what.into(),
        some: names(SOME_NAMES),
        all: (group.members.len() > SOME_NAMES).then(|| names(MAX_NAMES)),
        stack: stack.collect(),
        open,
    }
}

fn frame(frame: &Frame) -> Line {
    Line { text: frame.to_string().into(), mark: None, faint: !frame.sure }
}

fn waits_for(kind: WaitKind) -> String {
    match kind {
        WaitKind::Stopped => "is stopped".to_owned(),
        WaitKind::Freezer => "waits to be thawed".to_owned(),
        kind => format!("waits for {}", kind.words()),
    }
}

fn cpus(chart: &Chart<'_>) -> Option<Block> {
    let cpus = chart.cpus.filter(|it| !it.is_empty())?;
    let one = |it: &vmward_kernel_facts::CpuStack| {
        let what = match (&it.comm, it.pid) {
            _ if it.idle => "idle".to_owned(),
            (Some(comm), Some(pid)) => format!("{comm} (pid {pid})"),
            (Some(comm), None) => comm.clone(),
            _ => "something".to_owned(),
        };
        let place = if it.user_mode { " in user mode" } else { "" };
        let at = it.pc.as_ref().map_or(String::new(), |it| format!(" at {it}"));
        let summary = Text::new(format!("CPU {}: {what}{place}{at}", it.cpu));
        let lines: Vec<Line> = it.stack.iter().take(MAX_FRAMES).map(frame).collect();
        if lines.is_empty() {
            Block::Items(vec![summary])
        } else {
            Block::Fold { summary, open: !it.idle, blocks: vec![Block::Lines(lines)] }
        }
    };
    let blocks = cpus.iter().take(512).map(one).collect();
    Some(Block::Headed { title: "What the CPUs ran".into(), important: false, blocks })
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
            facts.push((name.into(), Value::code(keys(list))));
        }
    }
    facts.push(("SysRq sent by".into(), Value::from(&seen.path)));
    Block::Facts(facts)
}

fn memory(seen: &MemSummary) -> Block {
    let mut rows = Vec::new();
    for it in &seen.zones {
        rows.push(vec![
            Value::from(format!("{} {}", it.node, it.name)),
            Value::number(it.free_kib.to_string()),
            Value::number(it.min_kib.to_string()),
            Value::number(it.high_kib.to_string()),
        ]);
    }
    let swap = match (seen.swap_free_kib, seen.swap_total_kib) {
        (Some(free), Some(total)) => format!("swap: {free} of {total} KiB free"),
        _ => "swap: not told".to_owned(),
    };
    let table = Block::Table { head: vec!["zone", "free KiB", "min", "high"], rows };
    Block::Fold { summary: Text::new(format!("memory; {swap}")), open: false, blocks: vec![table] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: u32, name: &str, state: TaskState, stack: &[&str]) -> Task {
        Task { stack: stack.iter().map(|it| Frame::named(*it)).collect(), ..Task::new(pid, name, state) }
    }

    #[test]
    fn ten_waiters_at_one_place_are_one_entry_with_one_stack() {
        let stack = ["__schedule", "schedule", "__mutex_lock", "ext4_sync_file"];
        let tasks: Vec<Task> = (1..=10).map(|pid| task(pid, "writer", TaskState::D, &stack)).collect();
        let blocks = folded(&tasks, true);
        let [Block::Tasks(groups)] = &blocks[..] else { panic!("{blocks:?}") };
        let [group] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!((group.count, group.what.as_str()), (10, "waits for a mutex"));
        assert!(group.some.as_str().ends_with("writer (pid 6) and 4 more"));
        assert!(group.all.as_ref().unwrap().as_str().ends_with("writer (pid 10)"));
        let marked: Vec<&str> =
            group.stack.iter().filter(|it| it.mark.is_some()).map(|it| it.text.as_str()).collect();
        assert_eq!(marked, ["__mutex_lock"]);
    }

    #[test]
    fn a_running_task_waits_for_nothing() {
        let tasks = [task(1, "spin", TaskState::R, &["__schedule", "__mutex_lock"])];
        let blocks = folded(&tasks, true);
        let [Block::Tasks(groups)] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!(groups[0].what.as_str(), "running");
        assert!(groups[0].stack.iter().all(|it| it.mark.is_none()));
    }
}
