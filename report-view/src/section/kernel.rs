//! The state of the guest's kernel, as its memory tells it: CPUs, disks, mounts, work, pressure.

use vmward_kernel_facts::machine::{
    Disk, Freeze, Mounts, NetDevice, Pressure, Rcu, RunQueue, System, Watchdog, WorkerPool,
};
use vmward_kernel_facts::{FoundBy, Machine};

use super::{age, kernel_memory, section as make};
use crate::chart::{Chart, Lens};
use crate::document::{Block, Section};
use crate::escape::Text;
use crate::value::{Tone, Value};

/// Rows of a table.
const MAX_ROWS: usize = 100;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let title = "State of the guest's kernel";
    let Some(lens) = &chart.lens else { return make("kernel", title, Vec::new()) };
    let machine: &Machine = lens.machine;
    let mut blocks = vec![Block::Facts(facts(lens))];
    blocks.extend(machine.run_queues.as_deref().and_then(run_queues));
    blocks.extend(kernel_memory::blocks(chart, machine));
    blocks.extend(machine.disks.as_deref().and_then(disks));
    blocks.extend(machine.mounts.as_ref().and_then(mounts));
    blocks.extend(machine.workqueues.as_deref().and_then(workqueues));
    blocks.extend(machine.networks.as_deref().and_then(networks));
    if !lens.problems.is_empty() {
        let items = Block::Items(lens.problems.iter().take(50).map(Text::new).collect());
        blocks.push(Block::Fold {
            summary: "what could not be read".into(),
            open: false,
            blocks: vec![items],
        });
    }
    make("kernel", title, blocks)
}

fn facts(lens: &Lens<'_>) -> Vec<(Text, Value)> {
    let mut facts: Vec<(Text, Value)> = Vec::new();
    let mut add = |name: &str, value: Value| facts.push((name.into(), value));
    match &lens.machine.system {
        Some(it) => system(it, &mut add),
        None => add("kernel", Value::from(&lens.kernel.banner)),
    }
    if let Some(it) = &lens.machine.clock {
        add("up for", Value::from(age(it.uptime_nsec / 1_000_000)));
    }
    if let Some(it) = &lens.machine.pressure {
        add("pressure, 10 s", Value::from(pressure(it)));
    }
    if let Some(it) = &lens.machine.rcu {
        add("RCU", rcu(it));
    }
    if let Some(it) = &lens.machine.watchdog {
        add("lockup detector", watchdog(it));
    }
    let by = match lens.kernel.found_by {
        FoundBy::Registers => "by the registers of its CPUs",
        FoundBy::Scan => "by a scan of its memory",
    };
    let took = lens.cost.total_us as f64 / 1000.0;
    let read = format!("found {by}; {took:.0} ms, {} pages", lens.cost.pages);
    add("read from memory", Value::from(read));
    facts
}

fn system(it: &System, add: &mut impl FnMut(&str, Value)) {
    add("kernel", Value::from(&it.release));
    add("host name", Value::from(&it.node));
    let load = [it.load.one, it.load.five, it.load.fifteen];
    let load = load.map(|it| format!("{:.2}", it as f64 / 100.0));
    add("load", Value::from(load.join(" ")));
    if let Some(cpu) = it.panic.cpu {
        add("panic", Value::badge(format!("on CPU {cpu}"), Tone::Alarm));
    }
    match it.taints.is_empty() {
        true => add("taint", Value::from("none")),
        false => {
            let bad = it.taints.iter().any(|it| matches!(it.letter, 'D' | 'B' | 'M' | 'L'));
            let reasons = it.taints.iter().map(|it| format!("{} ({})", it.letter, it.reason));
            let tone = if bad { Tone::Warn } else { Tone::Quiet };
            add("taint", Value::badge(reasons.collect::<Vec<_>>().join("; "), tone));
        }
    }
    let line: String = it.command_line.chars().take(400).collect();
    add("command line", Value::code(line));
}

fn pressure(it: &Pressure) -> String {
    let percent = |hundredths: u64| format!("{}.{:02} %", hundredths / 100, hundredths % 100);
    format!(
        "CPU {}, memory {} (all {}), disks {} (all {})",
        percent(it.cpu_some.average[0]),
        percent(it.memory_some.average[0]),
        percent(it.memory_full.average[0]),
        percent(it.io_some.average[0]),
        percent(it.io_full.average[0])
    )
}

fn rcu(it: &Rcu) -> Value {
    let since = it.age_ms.map_or_else(String::new, |ms| format!(" for {}", age(ms)));
    match (it.in_progress, it.stalled) {
        (_, true) => Value::badge(format!("stalled{since}"), Tone::Alarm),
        (true, _) => Value::from(format!("a grace period is under way{since}")),
        (false, _) => Value::from("no grace period is under way"),
    }
}

fn watchdog(it: &Watchdog) -> Value {
    let stuck: Vec<String> =
        it.cpus.iter().filter(|it| it.soft_lockup).map(|it| it.cpu.to_string()).collect();
    match (it.enabled, stuck.is_empty()) {
        (false, _) => Value::from("does not run"),
        (_, true) => Value::from("no CPU is stuck"),
        (_, false) => Value::badge(format!("stuck: CPU {}", stuck.join(", ")), Tone::Alarm),
    }
}

fn run_queues(all: &[RunQueue]) -> Option<Block> {
    let row = |it: &RunQueue| {
        let runs =
            if it.idle { "idle".to_owned() } else { format!("{} (pid {})", it.current.comm, it.current.pid) };
        let since = it.current_nsec.filter(|_| !it.idle).map_or_else(String::new, |ns| age(ns / 1_000_000));
        let mut waiting = it
            .waiting
            .iter()
            .take(6)
            .map(|it| format!("{} (pid {})", it.task.comm, it.task.pid))
            .collect::<Vec<_>>()
            .join(", ");
        if it.waiting.len() > 6 {
            waiting.push_str(&format!(" and {} more", it.waiting.len() - 6));
        }
        vec![
            Value::number(it.cpu.to_string()),
            Value::from(runs),
            Value::number(since),
            Value::number(it.nr_running.to_string()),
            Value::from(waiting),
            Value::number(it.nr_iowait.to_string()),
        ]
    };
    let rows: Vec<_> = all.iter().take(MAX_ROWS).map(row).collect();
    let head = vec!["CPU", "runs", "since", "runnable", "waiting for it", "in I/O"];
    table("Run queues", head, rows)
}

fn disks(all: &[Disk]) -> Option<Block> {
    let row = |it: &Disk| {
        let oldest = it.in_flight.iter().filter(|it| !it.completed).max_by_key(|it| it.age_ms);
        let text = oldest.map_or_else(String::new, |it| {
            let since = it.age_ms.map_or_else(String::new, |ms| format!(" for {}", age(ms)));
            format!("{} of {} bytes at sector {}{since}", it.operation, it.bytes, it.sector)
        });
        let mut state = Vec::new();
        if it.frozen {
            state.push("no request may enter");
        }
        if it.quiesced {
            state.push("no request is given on");
        }
        if !it.stopped_queues.is_empty() {
            state.push("queues stopped by the driver");
        }
        let state =
            if state.is_empty() { Value::default() } else { Value::badge(state.join("; "), Tone::Warn) };
        vec![
            Value::from(&it.name),
            Value::number(format!("{} MiB", it.sectors / 2048)),
            Value::number(it.in_flight.len().to_string()),
            Value::from(text),
            Value::from(it.scheduler.as_deref().unwrap_or("none")),
            state,
        ]
    };
    let head = vec!["disk", "size", "requests", "oldest", "scheduler", "state"];
    table("Disks", head, all.iter().take(MAX_ROWS).map(row).collect())
}

/// Those that are frozen, or read-only and of a device: the rest is folded.
fn mounts(all: &Mounts) -> Option<Block> {
    let frozen = |address: u64| {
        all.super_blocks.iter().find(|it| it.address == address).map_or(Freeze::No, |it| it.freeze)
    };
    let mut rows = Vec::new();
    let mut told = 0;
    for it in all.mounts.iter().take(400) {
        let is_frozen = frozen(it.super_block) != Freeze::No;
        let state = if is_frozen {
            told += 1;
            Value::badge("frozen", Tone::Alarm)
        } else if it.options.split(',').any(|it| it == "ro") {
            Value::badge("read-only", Tone::Warn)
        } else {
            Value::default()
        };
        let row = vec![
            Value::code(&it.path),
            Value::from(&it.filesystem),
            Value::from(&it.source),
            Value::from(&it.options),
            state,
        ];
        rows.push((!is_frozen, row));
    }
    if rows.is_empty() {
        return None;
    }
    rows.sort_by_key(|it| it.0);
    let summary = match told {
        0 => format!("{} mounts; none is frozen", rows.len()),
        1 => format!("{} mounts; 1 is frozen", rows.len()),
        n => format!("{} mounts; {n} are frozen", rows.len()),
    };
    let head = vec!["mount", "type", "of", "options", "state"];
    let table = Block::Table { head, rows: rows.into_iter().take(MAX_ROWS).map(|it| it.1).collect() };
    Some(Block::Fold { summary: summary.into(), open: told > 0, blocks: vec![table] })
}

/// Pools that have something to do.
fn workqueues(all: &[WorkerPool]) -> Option<Block> {
    let busy = all.iter().filter(|it| it.pending > 0 || !it.running.is_empty());
    let row = |it: &WorkerPool| {
        let cpu = it.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        let at = it.running.iter().take(6).map(|it| match &it.worker {
            Some(worker) => format!("{} (pid {}): {}", worker.comm, worker.pid, it.function),
            None => it.function.clone(),
        });
        let since = match it.stalled_ms {
            Some(ms) if ms >= 30_000 => Value::badge(age(ms), Tone::Alarm),
            it => Value::number(it.map_or_else(String::new, age)),
        };
        let mut pending = it.pending.to_string();
        if !it.pending_functions.is_empty() {
            let functions = it.pending_functions.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            pending.push_str(&format!(": {functions}"));
        }
        vec![
            Value::number(it.id.to_string()),
            Value::number(cpu),
            Value::from(at.collect::<Vec<_>>().join(", ")),
            Value::from(pending),
            since,
        ]
    };
    let head = vec!["pool", "CPU", "its workers are at", "waiting", "none begun for"];
    table("Work of the kernel", head, busy.take(MAX_ROWS).map(row).collect())
}

fn networks(all: &[NetDevice]) -> Option<Block> {
    let row = |it: &NetDevice| {
        let sum = |of: fn(&vmward_kernel_facts::machine::NetQueue) -> u64| {
            it.queues.iter().map(of).fold(0u64, u64::saturating_add)
        };
        let stopped = it.queues.iter().filter(|it| it.stopped_by_driver).count();
        let state = match (it.up, it.carrier) {
            (false, _) => "down",
            (true, false) => "up, no link",
            (true, true) => "up",
        };
        vec![
            Value::from(&it.name),
            Value::from(state),
            Value::number(sum(|it| u64::from(it.waiting)).to_string()),
            Value::number(sum(|it| it.timeouts).to_string()),
            match stopped {
                0 => Value::default(),
                n => Value::badge(format!("{n} of {} queues stopped", it.queues.len()), Tone::Warn),
            },
        ]
    };
    let rows: Vec<_> = all.iter().take(MAX_ROWS).map(row).collect();
    let head = vec!["interface", "state", "packets waiting", "timeouts", ""];
    (!rows.is_empty()).then(|| Block::Fold {
        summary: Text::new(match rows.len() {
            1 => "1 network interface".to_owned(),
            n => format!("{n} network interfaces"),
        }),
        open: false,
        blocks: vec![Block::Table { head, rows }],
    })
}

fn table(title: &str, head: Vec<&'static str>, rows: Vec<Vec<Value>>) -> Option<Block> {
    let table = (!rows.is_empty()).then_some(Block::Table { head, rows })?;
    Some(Block::Headed { title: title.into(), important: false, blocks: vec![table] })
}
