//! `vmward spool`: what waits for a controller and what became of the rest; read from the state folder,
//! whether or not an agent runs.
//!
//! ```text
//! made 412 = stored 398 + refused 0 + dropped 12 + waiting 2 (4231 bytes)
//! dropped: 9 DEBUG, 3 INFO
//!
//! NUMBER  SEVERITY  KIND      BYTES  SET ASIDE
//! 411     CRIT      incident  514
//! 412     INFO      note      398
//! ```

use anyhow::{Context as _, Result};

use super::output::json;
use super::{Context, Exit, Form, Output};
use crate::agent::paths;
use crate::spool::record::{ALL, word};
use crate::spool::view;

/// Rows of the table; all are in the JSON.
const ROWS: usize = 50;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show all entries that wait, not just the first
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Exit> {
    let config = cx.load()?.config;
    let folder = paths::spool(&config.state);
    let reading = || format!("while reading the spool in {}", folder.display());
    let Some(view) = view::read(&folder).with_context(reading)? else {
        let why = match config.controllers.is_empty() {
            true => "no [[controller]] is configured, so nothing waits for one",
            false => "has the agent run with this configuration?",
        };
        anyhow::bail!("there is no spool in {}: {why}", folder.display());
    };
    if cx.form() == Form::Json {
        json(&view)?;
        return Ok(Exit::Well);
    }
    let it = view.counters;
    let mut out = Output::new();
    out.line(&format!(
        "made {} = stored {} + refused {} + dropped {} + waiting {} ({} bytes)",
        it.made,
        it.stored,
        it.refused,
        it.dropped.total(),
        it.waiting,
        it.waiting_bytes
    ));
    let mut dropped = it.dropped;
    let by_severity: Vec<String> = ALL
        .iter()
        .map(|it| (*dropped.of(*it), word(*it)))
        .filter(|(n, _)| *n > 0)
        .map(|(n, it)| format!("{n} {it}"))
        .collect();
    if !by_severity.is_empty() {
        out.line(&format!("dropped: {}", by_severity.join(", ")));
    }
    if !view.waiting.is_empty() {
        let shown = if args.all { view.waiting.len() } else { ROWS };
        let rows: Vec<[String; 5]> = view
            .waiting
            .iter()
            .take(shown)
            .map(|it| {
                let aside = it.aside.clone().unwrap_or_default();
                let severity = word(it.severity).to_owned();
                [it.seq.to_string(), severity, it.kind.clone(), it.bytes.to_string(), aside]
            })
            .collect();
        out.safe("\n").table(["NUMBER", "SEVERITY", "KIND", "BYTES", "SET ASIDE"], &rows);
        if let Some(more) = view.waiting.len().checked_sub(shown).filter(|it| *it > 0) {
            out.line(&format!("and {more} more: --all shows them"));
        }
    }
    out.write()?;
    Ok(Exit::Well)
}
