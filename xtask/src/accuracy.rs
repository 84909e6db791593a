//! `cargo xtask accuracy --corpus DIR [--json] [--misses]`: how well the console reader reads labelled logs.
//!
//! `DIR/sysrq` holds consoles of real kernels with their truth inside (`### GT-TASKS`) and in `LABELS.tsv`;
//! `DIR/kernel-crash-titles` holds crash logs with `KEY: value` heads. The logs are read in place; nothing
//! of them comes into the project. Targets are what this reader promises today; they only ever rise.

mod sysrq;
mod titles;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vmward_console_log::{EventKind, Reader, Trouble};

/// What to score.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with `sysrq/` and `kernel-crash-titles/`; either may be missing.
    #[arg(long, env = "VMWARD_CORPUS_DIR")]
    corpus: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Also say on stderr which cases were read wrongly.
    #[arg(long)]
    misses: bool,
}

/// One figure with its target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// How it came out.
    pub value: f64,
    /// What the value counts.
    pub unit: &'static str,
    /// At least this for percentages, at most this for counts.
    pub target: f64,
    /// Whether the target is met.
    pub met: bool,
}

impl Figure {
    /// A share of cases that should be at least `target` percent. No case at all does not meet it.
    fn share(figure: &str, good: usize, all: usize, target: f64) -> Self {
        let value = if all == 0 { 0.0 } else { (good as f64 / all as f64 * 10_000.0).round() / 100.0 };
        Self { figure: format!("{figure} ({good} of {all})"), value, unit: "%", target, met: value >= target }
    }

    /// A count of mistakes that should be at most `target`.
    fn mistakes(figure: &str, count: usize, target: usize) -> Self {
        Self {
            figure: figure.to_owned(),
            value: count as f64,
            unit: "cases",
            target: target as f64,
            met: count <= target,
        }
    }
}

/// Scores every set under the folder; exit code 1 when a target is missed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut figures = Vec::new();
    let mut misses = Vec::new();
    for (name, score) in [("sysrq", sysrq::score as Score), ("kernel-crash-titles", titles::score)] {
        let folder = args.corpus.join(name);
        if folder.is_dir() {
            figures.extend(score(&folder, &mut misses).with_context(|| format!("while scoring {name}"))?);
        }
    }
    if figures.is_empty() {
        bail!(
            "{} has neither sysrq/ nor kernel-crash-titles/: give the folder of the sets",
            args.corpus.display()
        );
    }
    if args.misses {
        for miss in &misses {
            eprintln!("{miss}");
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        for it in &figures {
            let mark = if it.met { "met" } else { "MISSED" };
            println!("{:<60} {:>8} {:<6} target {:>6}  {mark}", it.figure, it.value, it.unit, it.target);
        }
    }
    Ok(ExitCode::from(u8::from(!figures.iter().all(|it| it.met))))
}

type Score = fn(&Path, &mut Vec<String>) -> Result<Vec<Figure>>;

/// All trouble that the reader finds in a log.
fn troubles(log: &[u8]) -> Vec<Trouble> {
    let mut reader = Reader::new();
    let mut events = reader.push(log);
    events.extend(reader.push(b"\n"));
    events.extend(reader.flush());
    let trouble = |it: vmward_console_log::Event| match it.kind {
        EventKind::Trouble(it) => Some(*it),
        _ => None,
    };
    events.into_iter().filter_map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_not_met() {
        assert!(!Figure::share("x", 0, 0, 0.1).met);
        let share = Figure::share("x", 199, 200, 99.5);
        assert!(share.met);
        assert_eq!(share.value, 99.5);
    }

    #[test]
    fn a_small_corpus_is_scored() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let titles = dir.path().join("kernel-crash-titles");
        std::fs::create_dir(&titles)?;
        std::fs::write(
            titles.join("1.txt"),
            "TITLE: INFO: task hung in x\nTYPE: HANG\n\n[    1.000000] INFO: task a:1 blocked for more than 120 seconds.\n",
        )?;
        std::fs::write(titles.join("2.txt"), "TITLE: \n\nWARNING: RO_VPD is uninitialized\n")?;
        let mut misses = Vec::new();
        let figures = titles::score(&titles, &mut misses)?;
        assert!(figures.iter().all(|it| it.met), "{figures:?} {misses:?}");
        assert!(misses.is_empty());
        Ok(())
    }
}
