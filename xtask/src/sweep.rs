//! `cargo xtask sweep`: every fault on every kernel it is made on, several times, held against
//! `faults.toml`. Resumable: each run is a JSON line in `out/sweep.jsonl`; the table of rates is
//! `out/sweep.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use vmward_qemu_fixtures::fault::catalogue::Catalogue;
use vmward_tests::sweep::{self, Run};

use crate::run::root;

/// Arguments of `cargo xtask sweep`.
#[derive(clap::Args)]
pub struct Args {
    /// Runs of each fault on each kernel.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Only these faults, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    /// Only these kernels, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub kernels: Vec<String>,
    /// Forget earlier runs.
    #[arg(long)]
    pub fresh: bool,
}

impl Args {
    /// Everything, three times: what `cargo xtask test --all` runs.
    pub fn everything() -> Args {
        Args { runs: 3, faults: Vec::new(), kernels: Vec::new(), fresh: false }
    }
}

fn file() -> PathBuf {
    root().join("out/sweep.jsonl")
}

/// Runs it. Exit code 1 when a run was not as promised.
pub fn run(args: &Args) -> Result<ExitCode> {
    std::fs::create_dir_all(root().join("out")).context("while making out/")?;
    if args.fresh {
        std::fs::write(file(), "").context("while forgetting earlier runs")?;
    }
    let mut runs = earlier();
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|it| it == name);
    for entry in Catalogue::shipped()?.faults {
        for kernel in entry.kernels.iter().filter(|kernel| wanted(&args.kernels, kernel)) {
            if !wanted(&args.faults, &entry.name) {
                continue;
            }
            let done = runs.iter().filter(|run| run.fault == entry.name && &run.kernel == kernel).count();
            for number in done..args.runs {
                eprintln!("sweep: {} on {kernel}, run {}", entry.name, number + 1);
                let run = one(&entry.name, kernel);
                for problem in &run.problems {
                    eprintln!("sweep:   {problem}");
                }
                keep(&run)?;
                runs.push(run);
            }
        }
    }
    let table = table(&runs);
    std::fs::write(root().join("out/sweep.md"), &table).context("while writing the table")?;
    println!("{table}");
    Ok(if runs.iter().all(Run::is_as_promised) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A fixture that fails is a run that failed: the sweep goes on.
fn one(fault: &str, kernel: &str) -> Run {
    sweep::run(fault, kernel).unwrap_or_else(|error| Run::failed(fault, kernel, format!("{error:#}")))
}

fn earlier() -> Vec<Run> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn keep(run: &Run) -> Result<()> {
    let line = serde_json::to_string(run).context("while writing a run")?;
    let mut out =
        std::fs::File::options().create(true).append(true).open(file()).context("while keeping a run")?;
    writeln!(out, "{line}").context("while keeping a run")
}

/// One row for each fault and kernel.
fn table(runs: &[Run]) -> String {
    let mut rows: BTreeMap<(&str, &str), Vec<&Run>> = BTreeMap::new();
    for run in runs {
        rows.entry((&run.fault, &run.kernel)).or_default().push(run);
    }
    let mut text = String::from(
        "| fault | kernel | as promised | class | noticed by | notice s | bundle s | void |\n|---|---|---|---|---|---|---|---|\n",
    );
    for ((fault, kernel), runs) in rows {
        let good = runs.iter().filter(|run| run.is_as_promised()).count();
        let of = |pick: fn(&Run) -> Option<String>| -> String {
            let mut all: Vec<String> = runs.iter().filter_map(|run| pick(run)).collect();
            all.sort();
            all.dedup();
            all.join(", ")
        };
        let most = |pick: fn(&Run) -> Option<f64>| -> String {
            runs.iter()
                .filter_map(|run| pick(run))
                .max_by(f64::total_cmp)
                .map_or(String::new(), |it| format!("{it:.1}"))
        };
        let void: u32 = runs.iter().map(|run| run.void).sum();
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {fault} | {kernel} | {good}/{} | {} | {} | {} | {} | {void} |",
            runs.len(),
            of(|run| run.class.clone()),
            of(|run| run.scenario.clone()),
            most(|run| run.notice_s),
            most(|run| run.bundle_s),
        );
    }
    text
}
