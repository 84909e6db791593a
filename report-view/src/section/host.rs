//! The host's side of this guest.

use vmward_model::observed::{HostThread, ThreadRole};

use super::section as make;
use crate::chart::Chart;
use crate::document::{Block, Line, Section};
use crate::escape::Text;
use crate::value::Value;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let Some(host) = &chart.observed.host else { return make("host", "Host", Vec::new()) };
    let alive = if host.process_alive { "alive" } else { "gone" };
    let mut facts = vec![("QEMU process".into(), Value::from(alive))];
    if let Some(it) = host.rss_kib {
        facts.push(("resident".into(), Value::from(format!("{it} KiB"))));
    }
    if let Some(it) = &host.cgroup {
        facts.push(("cgroup".into(), Value::code(it)));
    }
    for (name, value) in &host.pressure {
        facts.push((Text::new(format!("pressure {name}")), Value::from(format!("{value:.1} %"))));
    }
    let mut blocks = vec![Block::Facts(facts)];
    if !host.threads.is_empty() {
        let rows = host.threads.iter().take(200).map(|it| {
            let cells = [
                it.tid.to_string(),
                role(it),
                it.comm.clone(),
                it.state.to_string(),
                it.wchan.clone().unwrap_or_default(),
                match it.wait_ms {
                    0 => format!("{} ms", it.cpu_ms),
                    wait => format!("{} ms, and {wait} ms without a CPU", it.cpu_ms),
                },
            ];
            cells.map(Value::from).into()
        });
        let head = vec!["thread", "for", "name", "state", "waits in", "CPU time"];
        let summary = Text::new(format!("{} threads of QEMU over {} ms", host.threads.len(), host.window_ms));
        let mut inner = vec![Block::Table { head, rows: rows.collect() }];
        for it in host.threads.iter().filter(|it| !it.stack.is_empty()).take(32) {
            let lines = it.stack.iter().take(64).map(Line::plain).collect();
            let summary = Text::new(format!("host kernel stack of {} ({})", it.tid, it.comm));
            inner.push(Block::Fold { summary, open: false, blocks: vec![Block::Lines(lines)] });
        }
        blocks.push(Block::Fold { summary, open: false, blocks: inner });
    }
    if !host.disks.is_empty() {
        blocks.push(Block::Items(host.disks.iter().map(|it| Text::new(format!("disk {it}"))).collect()));
    }
    for it in &host.taps {
        let text = format!(
            "network {} is {}: {} packets in, {} out, {} dropped",
            it.name, it.state, it.rx_packets, it.tx_packets, it.dropped
        );
        blocks.push(Block::Items(vec![Text::new(text)]));
    }
    if !host.problems.is_empty() {
        blocks.push(Block::Para("Not readable:".into()));
        blocks.push(Block::Items(host.problems.iter().map(Text::new).collect()));
    }
    make("host", "Host", blocks)
}

fn role(thread: &HostThread) -> String {
    match thread.role {
        ThreadRole::Main => "main loop".to_owned(),
        ThreadRole::Vcpu(index) => format!("vCPU {index}"),
        ThreadRole::Io => "I/O".to_owned(),
        ThreadRole::Other => String::new(),
    }
}
