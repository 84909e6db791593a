//! QEMU's view: run state, vCPU registers, virtqueues, block counters.

use vmward_model::observed::{MonitorHealth, Observed, Virtqueue};

use super::section as make;
use crate::chart::Chart;
use crate::document::{Block, Section};
use crate::escape::Text;
use crate::value::Value;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let seen = chart.observed;
    let mut blocks = Vec::new();
    if let Some(it) = &seen.run_state {
        let monitor = match &it.monitor {
            MonitorHealth::Answers => "answers".to_owned(),
            MonitorHealth::Busy { peer } => format!("held by {peer}"),
            MonitorHealth::Silent => "silent".to_owned(),
            MonitorHealth::Garbage => "speaks something else than QMP".to_owned(),
            MonitorHealth::Closed => "closes in the middle of an answer".to_owned(),
            MonitorHealth::Absent => "absent".to_owned(),
        };
        let mut facts = vec![("monitor".into(), Value::from(monitor))];
        for (name, value) in
            [("run state", &it.status), ("QEMU", &it.qemu_version), ("architecture", &it.arch)]
        {
            if let Some(value) = value {
                facts.push((name.into(), Value::from(value)));
            }
        }
        blocks.push(Block::Facts(facts));
    }
    blocks.extend(vcpus(seen));
    blocks.extend(queues(seen));
    blocks.extend(counters(seen));
    make("machine", "Machine", blocks)
}

fn row(cells: impl IntoIterator<Item = String>) -> Vec<Value> {
    cells.into_iter().map(Value::from).collect()
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "?".to_owned(), |it| it.to_string())
}

fn vcpus(seen: &Observed) -> Option<Block> {
    let samples = &seen.vcpus.as_ref()?.samples;
    let flag = |it: Option<bool>, yes: &str, no: &str| match it {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "?".to_owned(),
    };
    let rows = samples.iter().flat_map(|sample| {
        sample.cpus.iter().map(move |it| {
            row([
                it.index.to_string(),
                format!("{} ms", sample.at_ms),
                it.ip.map_or_else(|| "?".to_owned(), |ip| format!("{ip:#x}")),
                flag(it.interrupts_off, "off", "on"),
                flag(it.user_mode, "user", "kernel"),
                flag(it.halted, "sleeps", "runs"),
            ])
        })
    });
    let head = vec!["vCPU", "at", "instruction", "interrupts", "mode", "state"];
    let table = Block::Table { head, rows: rows.take(400).collect() };
    Some(Block::Fold {
        summary: "registers of the vCPUs, taken without a stop".into(),
        open: false,
        blocks: vec![table],
    })
}

fn queues(seen: &Observed) -> Option<Block> {
    let samples = seen.queues.as_ref()?;
    let (first, last) = (samples.first()?, samples.last()?);
    let moved = |it: &Virtqueue| {
        let before = first.queues.iter().find(|old| old.path == it.path && old.queue == it.queue)?;
        Some((it.used_idx? as u16).wrapping_sub(before.used_idx? as u16))
    };
    let table = |of: Vec<&Virtqueue>| {
        let rows = of.into_iter().take(400).map(|it| {
            vec![
                Value::from(&it.device),
                Value::from(&it.path),
                Value::number(it.queue.to_string()),
                Value::number(it.inuse.to_string()),
                Value::number(known(moved(it))),
                Value::number(known(it.last_avail_idx)),
            ]
        });
        let head =
            vec!["device", "path", "queue", "owed by the host", "completed meanwhile", "next available"];
        Block::Table { head, rows: rows.collect() }
    };
    // What neither owes nor moves says little, and there is much of it.
    let (busy, idle): (Vec<_>, Vec<_>) =
        last.queues.iter().partition(|it| it.inuse > 0 || moved(it).is_some_and(|it| it > 0));
    let open = busy.iter().any(|it| it.inuse > 0);
    let mut blocks = Vec::new();
    if !busy.is_empty() {
        blocks.push(table(busy));
    }
    if !idle.is_empty() {
        let summary = Text::new(format!("{} that neither owe nor move", idle.len()));
        blocks.push(Block::Fold { summary, open: false, blocks: vec![table(idle)] });
    }
    let summary = Text::new(format!("virtqueues over {} ms", last.at_ms.saturating_sub(first.at_ms)));
    Some(Block::Fold { summary, open, blocks })
}

fn counters(seen: &Observed) -> Option<Block> {
    let samples = seen.blocks.as_ref()?;
    let (first, last) = (samples.first()?, samples.last()?);
    let rows = last.devices.iter().map(|it| {
        let before = first.devices.iter().find(|old| old.device == it.device);
        let done = it.ops().saturating_sub(before.map_or(0, |old| old.ops()));
        row([it.device.clone(), it.ops().to_string(), done.to_string(), it.failed_ops.to_string()])
    });
    let table = Block::Table {
        head: vec!["disk", "operations", "meanwhile", "failed"],
        rows: rows.take(400).collect(),
    };
    let summary = Text::new(format!("block counters over {} ms", last.at_ms.saturating_sub(first.at_ms)));
    Some(Block::Fold { summary, open: false, blocks: vec![table] })
}
