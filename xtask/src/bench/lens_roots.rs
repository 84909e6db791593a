//! `bench lens-roots`: whether the lens names the cause of each fault in which tasks wait, on every kernel that
//! it can be made on, from a guest that runs on.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use vmward_qemu_fixtures::fault;
use vmward_tests::lens::Running;
use vmward_tests::roots;

use super::{Args, Figure, Samples};

/// Runs of each fault on each kernel when `--runs` does not say.
const RUNS: usize = 20;

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|it| it == name);
    let mut cases = Vec::new();
    for (fault, kernels) in roots::FAULTS.into_iter().filter(|it| wanted(&args.faults, it.0)) {
        cases.extend(kernels.iter().filter(|it| wanted(&args.kernels, it)).map(|kernel| (fault, *kernel)));
    }
    for (fault, kernel) in &cases {
        let done = samples.lines.iter().filter(|it| is_of(it, fault, kernel)).count();
        for number in done..args.runs.unwrap_or(RUNS) {
            eprintln!("bench lens-roots: {fault} on {kernel}, run {}", number + 1);
            samples.add(sample(fault, kernel)?)?;
        }
    }
    let mut figures = Vec::new();
    for (fault, kernel) in &cases {
        let all: Vec<&Value> = samples.lines.iter().filter(|it| is_of(it, fault, kernel)).collect();
        let right = all.iter().filter(|it| it["problem"].is_null()).count();
        figures.push(Figure {
            figure: format!("{fault} on {kernel}: causes named right"),
            value: right as f64,
            unit: "runs".into(),
            target: format!("= {}", all.len()),
            met: right == all.len() && right > 0,
        });
    }
    Ok(figures)
}

fn is_of(sample: &Value, fault: &str, kernel: &str) -> bool {
    sample["fault"] == fault && sample["kernel"] == kernel
}

fn sample(name: &str, kernel: &str) -> Result<Value> {
    let fault = fault::find(name)?;
    let mut guest = fault::start(kernel, fault).context("while starting a guest")?;
    fault.inject(&mut guest).with_context(|| format!("while making {name}"))?;
    let running = Running::of(&mut guest)?;
    let began = Instant::now();
    let found = running.look(&mut guest)?;
    let seconds = began.elapsed().as_secs_f64();
    let problem = roots::check(name, &found).err().map(|it| format!("{it:#}"));
    if let Some(problem) = &problem {
        eprintln!("bench lens-roots: {name} on {kernel}: {problem}");
    }
    Ok(json!({
        "fault": name, "kernel": kernel, "problem": problem, "edges": found.waits.edges.len(),
        "seconds": seconds,
    }))
}
