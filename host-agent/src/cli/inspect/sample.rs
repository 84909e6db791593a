//! `vmward inspect GUEST --sample N`: what the CPUs run, over time. A table of the stacks by how often they
//! were seen, and with `--flame FILE` a flame graph.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use vmward_kernel_facts::Samples;

use super::super::output::json;
use super::super::{Exit, Form, Output};
use crate::capture::{Monitor as _, OverQmp, Question};
use crate::look::{Order, Pool};

/// One question to the monitor.
const ASK: Duration = Duration::from_secs(2);
/// On top of what the pauses between the moments take: the first look searches for the kernel.
const EACH: Duration = Duration::from_millis(300);

/// Takes the picture and shows it.
pub(super) async fn run(
    pool: &Pool,
    order: Order,
    monitor: &OverQmp,
    moments: u32,
    every: Duration,
) -> Result<Samples> {
    let within = (every + EACH) * moments + Duration::from_secs(10);
    let mut next = Instant::now();
    let registers = async || {
        tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
        next = Instant::now() + every;
        let answers = match monitor.ask(vec![Question::Registers], ASK).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!("no more registers: {}", error.why);
                return None;
            }
        };
        match answers.into_iter().next() {
            Some(Ok(Value::String(text))) => Some(text),
            other => {
                tracing::warn!("no more registers: {other:?}");
                None
            }
        }
    };
    Ok(pool.over_time(order, moments, within, registers).await?)
}

/// Shows it.
pub(super) fn show(guest: &str, samples: &Samples, file: Option<&Path>, form: Form) -> Result<Exit> {
    if let Some(path) = file {
        let drawn = vmward_report_view::flame(guest, samples).context("while drawing the flame graph")?;
        std::fs::write(path, drawn).with_context(|| format!("while writing {}", path.display()))?;
    }
    if form == Form::Json {
        json(samples)?;
        return Ok(Exit::Well);
    }
    let mut out = Output::new();
    let share = |part: u32, all: u32| format!("{} %", u64::from(part) * 100 / u64::from(all.max(1)));
    let rows: Vec<[String; 5]> = samples
        .cpus
        .iter()
        .map(|it| {
            let kernel = it.seen.saturating_sub(it.idle).saturating_sub(it.user_mode);
            [
                it.cpu.to_string(),
                share(it.idle, it.seen),
                share(it.user_mode, it.seen),
                share(kernel, it.seen),
                it.places.to_string(),
            ]
        })
        .collect();
    out.table(["CPU", "IDLE", "USER", "KERNEL", "DIFFERENT PLACES"], &rows).line("");
    for it in samples.stacks.iter().filter(|it| it.pid != Some(0)) {
        let all = samples.cpus.iter().find(|cpu| cpu.cpu == it.cpu).map_or(0, |cpu| cpu.seen);
        let pid = it.pid.map_or_else(|| "?".to_owned(), |it| it.to_string());
        let task = it.comm.as_deref().unwrap_or("?");
        let place = if it.user_mode { ", user code" } else { "" };
        out.line(&format!("{} of CPU {}: {pid} {task}{place}", share(it.count, all), it.cpu));
        out.lines(it.functions.iter().rev().map(|it| format!("    {it}")));
    }
    let missed = match samples.missed {
        0 => String::new(),
        missed => format!("; {missed} more could not be looked at"),
    };
    out.line(&format!("{} moments in {} ms{missed}", samples.taken, samples.took_ms));
    out.write()?;
    Ok(Exit::Well)
}
