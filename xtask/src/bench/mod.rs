//! `cargo xtask bench NAME`: figures, measured on real guests, with the raw samples beside them.
//!
//! One file a benchmark, one line in [`registry`]. A benchmark appends one JSON line for each
//! sample to `out/bench/NAME.jsonl`; figures are always computed from that file, so that a run that
//! was cut off is resumed with `--resume` and anyone can compute them again.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::run::root;

mod demo;
mod hostile;
mod isolation;
mod lens;
mod lens_roots;
mod lens_running;
mod peer;
mod upload;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Which benchmark; without a name they are listed.
    name: Option<String>,
    /// Print the figures as a JSON array.
    #[arg(long)]
    json: bool,
    /// How many runs (each benchmark has its own default).
    #[arg(long)]
    pub runs: Option<usize>,
    /// Only these faults (of `isolation`: these ways to misbehave), separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    /// Only these kernels, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub kernels: Vec<String>,
    /// Keep the samples of an earlier run and add what is missing.
    #[arg(long)]
    resume: bool,
    /// Another program to run on the same guest in the same run, once a sample. `{pid}` and `{qmp}`
    /// stand for QEMU's process id and a monitor socket of its own.
    #[arg(long)]
    pub peer: Option<String>,
}

/// One figure as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What it should be, in words (`<= 20`); empty when it is shown for comparison only.
    pub target: String,
    /// Whether the target is met.
    pub met: bool,
}

impl Figure {
    /// A figure that should be at most `most`.
    pub fn at_most(figure: &str, value: f64, unit: &str, most: f64) -> Figure {
        Figure {
            figure: figure.into(),
            value,
            unit: unit.into(),
            target: format!("<= {most}"),
            met: value <= most,
        }
    }

    /// A figure that is shown and has no target.
    pub fn shown(figure: &str, value: f64, unit: &str) -> Figure {
        Figure { figure: figure.into(), value, unit: unit.into(), target: String::new(), met: true }
    }
}

/// The raw samples of a benchmark: JSON lines on disk.
pub struct Samples {
    path: PathBuf,
    /// Those of earlier runs first.
    pub lines: Vec<Value>,
}

impl Samples {
    fn open(name: &str, resume: bool) -> Result<Samples> {
        let folder = root().join("out/bench");
        std::fs::create_dir_all(&folder).with_context(|| format!("while making {}", folder.display()))?;
        let path = folder.join(format!("{name}.jsonl"));
        if !resume {
            std::fs::write(&path, "").with_context(|| format!("while emptying {}", path.display()))?;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A torn last line is what a cut-off run leaves behind; it is measured again.
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Samples { path, lines })
    }

    /// Keeps one sample, on disk at once.
    pub fn add(&mut self, sample: Value) -> Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("while opening {}", self.path.display()))?;
        writeln!(file, "{sample}").context("while writing a sample")?;
        self.lines.push(sample);
        Ok(())
    }

    /// The numbers under `key` of all samples that have one.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        self.lines.iter().filter_map(|line| line.get(key).and_then(Value::as_f64)).collect()
    }
}

/// The `q`-th part of the sorted values (nearest rank); not a number when there are none, so that a
/// figure without samples is never met.
pub fn percentile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the slice")]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The largest value; not a number when there are none.
pub fn largest(values: &[f64]) -> f64 {
    percentile(values, 1.0)
}

type Bench = fn(&Args, &mut Samples) -> Result<Vec<Figure>>;

/// Every benchmark: name, what it measures, and the function.
fn registry() -> Vec<(&'static str, &'static str, Bench)> {
    vec![
        ("demo", "fault to notice to bundle, pause, and the agent's cost at rest", demo::run),
        (
            "hostile",
            "time and memory until the controller refuses a bundle that was made to harm",
            hostile::run,
        ),
        ("isolation", "the rounds of nine guests while the tenth misbehaves", isolation::run),
        ("lens", "a look at a guest's memory, from the request to the result on disk", lens::run),
        (
            "lens-roots",
            "whether memory names the cause of each fault in which tasks wait, on each kernel",
            lens_roots::run,
        ),
        (
            "lens-running",
            "looks at busy guests: no ring of tasks, no root called still that runs",
            lens_running::run,
        ),
        ("upload", "a report written on the host to seen at the controller, and what both take", upload::run),
    ]
}

/// Runs one, or lists them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let registry = registry();
    let Some(name) = &args.name else {
        for (name, what, _) in &registry {
            println!("{name:<13} {what}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some((_, _, bench)) = registry.iter().find(|(known, _, _)| known == name) else {
        let known: Vec<&str> = registry.iter().map(|(name, _, _)| *name).collect();
        bail!("no benchmark is called {name:?}; there are: {}", known.join(", "));
    };
    let mut samples = Samples::open(name, args.resume)?;
    let figures = bench(args, &mut samples)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures).context("while writing the figures")?);
    } else {
        for figure in &figures {
            let mark = if figure.met { "met" } else { "NOT MET" };
            println!(
                "{:<58} {:>10.2} {:<8} {:<10} {mark}",
                figure.figure, figure.value, figure.unit, figure.target
            );
        }
        println!("samples: {}", samples.path.display());
    }
    Ok(if figures.iter().all(|figure| figure.met) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 10.0);
        assert_eq!(percentile(&values, 0.99), 20.0);
        assert_eq!(largest(&values), 20.0);
    }

    #[test]
    fn a_figure_without_samples_is_not_met() {
        assert!(!Figure::at_most("nothing", percentile(&[], 0.5), "s", 1.0).met);
    }
}
