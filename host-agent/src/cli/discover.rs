//! `vmward discover [-o wide|json]`: the guests of this host and the ways to reach them.
//!
//! ```text
//! NAME  PID    FOUND BY  QMP               CONSOLE            SCENARIOS
//! web   12345  proc      ok (brief)        ok                 kernel-trouble
//! ```
//! `-o wide` adds a line for each way, with its address, how it was found, and why it cannot be used.

use anyhow::Result;
use serde::Serialize;
use vmward_model::TransportKind;

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::config::{Config, GuestPolicy, QmpPolicy};
use crate::target::{Discovered, Target, discover};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[derive(Serialize)]
struct Found<'a> {
    guests: Vec<Guest<'a>>,
    problems: &'a [String],
}

#[derive(Serialize)]
struct Guest<'a> {
    #[serde(flatten)]
    target: &'a Target,
    policy: GuestPolicy,
}

pub(super) fn run(_: &Args, cx: &Context) -> Result<Exit> {
    let config = cx.load()?.config;
    let Discovered { targets, problems } = discover(&config);
    let policy = |it: &Target| config.policy_for(&it.name, it.uuid);
    match cx.form() {
        Form::Json => {
            let guests = targets.iter().map(|target| Guest { target, policy: policy(target) }).collect();
            json(&Found { guests, problems: &problems })?;
        }
        form => {
            let mut out = Output::new();
            if targets.is_empty() {
                out.line("no guest was found");
            } else {
                guests(&mut out, &targets, &config);
            }
            if form == Form::Wide {
                targets.iter().for_each(|it| ways(&mut out, it));
            }
            out.lines(problems.iter().map(|it| format!("problem: {it}")));
            out.write()?;
        }
    }
    Ok(if problems.is_empty() { Exit::Well } else { Exit::Unknown })
}

fn guests(out: &mut Output, targets: &[Target], config: &Config) {
    let rows: Vec<[String; 6]> = targets
        .iter()
        .map(|it| {
            let policy = config.policy_for(&it.name, it.uuid);
            let qmp = match &it.qmp {
                Some(qmp) if qmp.policy == QmpPolicy::Hold => "ok (hold)",
                Some(_) => "ok (brief)",
                None => "no",
            };
            let found: Vec<&str> = it.found_by.iter().map(|by| by.name()).collect();
            [
                it.name.clone(),
                it.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                found.join("+"),
                qmp.to_owned(),
                if it.console.is_some() { "ok" } else { "no" }.to_owned(),
                if policy.watch { policy.scenarios.join(" ") } else { "(not watched)".to_owned() },
            ]
        })
        .collect();
    out.table(["NAME", "PID", "FOUND BY", "QMP", "CONSOLE", "SCENARIOS"], &rows);
}

/// Every way to reach one guest.
fn ways(out: &mut Output, it: &Target) {
    out.safe("\n").line(&format!("{} ({})", it.name, it.id));
    let rows: Vec<[String; 5]> = it
        .transports
        .iter()
        .map(|way| {
            let more = match way.kind {
                TransportKind::Console => it.console.as_ref().filter(|_| way.problem.is_none()).map(|it| {
                    let device = if it.kind == crate::config::ConsoleKind::Hvc { "hvc" } else { "uart" };
                    format!("{device}{}", if it.mux { ", mux" } else { "" })
                }),
                _ => None,
            };
            [
                format!("  {}", way.kind.name()),
                way.address.clone(),
                way.found_by.clone(),
                more.unwrap_or_default(),
                way.problem.as_ref().map_or_else(|| "usable".to_owned(), |why| format!("not used: {why}")),
            ]
        })
        .collect();
    out.table(["  WAY", "ADDRESS", "FOUND BY", "DEVICE", "STATE"], &rows);
    out.lines(it.disks.iter().map(|disk| format!("  disk {disk}")));
    out.lines(it.problems.iter().map(|why| format!("  problem: {why}")));
}
