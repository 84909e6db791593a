//! `bench lens-running`: looks at guests that are busy and well, one a second. None may see a ring of waiting
//! tasks, and no task at which chains end may be called still that has run meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use vmward_kernel_facts::Examination;
use vmward_qemu_fixtures::fault;
use vmward_tests::lens::Running;

use super::{Args, Figure, Samples, largest};

/// Looks at each kind of load when `--runs` does not say: 1,000 in all.
const LOOKS: usize = 250;
const LOADS: [&str; 4] = ["busy-cpu", "busy-disk", "rt-spin-throttled", "fork-bomb"];
const APART: Duration = Duration::from_secs(1);
/// Edges in all looks at the load whose tasks wait.
const EDGES: f64 = 1000.0;

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    let wanted = |name: &&str| args.faults.is_empty() || args.faults.iter().any(|it| it == name);
    let loads: Vec<&str> = LOADS.into_iter().filter(wanted).collect();
    let kernels = if args.kernels.is_empty() { vec!["amd64-6.1".into()] } else { args.kernels.clone() };
    for kernel in &kernels {
        for load in &loads {
            let done = samples.lines.iter().filter(|it| it["load"] == **load && it["kernel"] == **kernel);
            let left = args.runs.unwrap_or(LOOKS).saturating_sub(done.count());
            if left > 0 {
                looks(load, kernel, left, samples)?;
            }
        }
    }
    let sum = |load: &str, key: &str| -> f64 {
        let of_load = samples.lines.iter().filter(|it| load.is_empty() || it["load"] == load);
        of_load.filter_map(|it| it[key].as_f64()).sum()
    };
    let mut figures = vec![
        Figure::at_most("rings of tasks that wait for each other", sum("", "cycles"), "rings", 0.0),
        Figure::at_most("roots called still that had run", sum("", "false_stills"), "roots", 0.0),
        Figure::shown("roots called still", sum("", "stills"), "roots"),
        Figure::shown("waits that changed while they were read", sum("", "changed"), "looks"),
        Figure::shown("looks", samples.lines.len() as f64, "looks"),
    ];
    for load in &loads {
        let edges = sum(load, "edges");
        figures.push(match *load {
            // Seeing nothing must not pass.
            "busy-disk" => Figure {
                figure: format!("{load}: edges"),
                value: edges,
                unit: "edges".into(),
                target: format!(">= {EDGES}"),
                met: edges >= EDGES,
            },
            _ => Figure::shown(&format!("{load}: edges"), edges, "edges"),
        });
    }
    figures.push(Figure::shown("longest look", largest(&samples.numbers("seconds")), "s"));
    Ok(figures)
}

fn looks(load: &str, kernel: &str, count: usize, samples: &mut Samples) -> Result<()> {
    eprintln!("bench lens-running: {count} looks at {load} on {kernel}");
    let fault = fault::find(load)?;
    let mut guest = fault::start(kernel, fault).context("while starting a guest")?;
    fault.inject(&mut guest).with_context(|| format!("while making {load}"))?;
    let running = Running::of(&mut guest)?;
    let mut before: Option<(Instant, BTreeMap<u32, u64>)> = None;
    for _ in 0..count {
        let began = Instant::now();
        let found = running.look(&mut guest)?;
        let seconds = began.elapsed();
        let sample = told(load, kernel, &found, began, before.as_ref());
        let mut sample = sample;
        sample["seconds"] = json!(seconds.as_secs_f64());
        samples.add(sample)?;
        before = Some((began, switches(&found)));
        std::thread::sleep(APART.saturating_sub(began.elapsed()));
        guest.check_not_void()?;
    }
    Ok(())
}

/// How often each thread was switched from.
fn switches(found: &Examination) -> BTreeMap<u32, u64> {
    let of_task = |it: &vmward_kernel_facts::Task| {
        let counts = it.scheduling?;
        Some((it.pid?, counts.voluntary_switches + counts.involuntary_switches))
    };
    found.tasks.iter().filter_map(of_task).collect()
}

fn told(
    load: &str,
    kernel: &str,
    found: &Examination,
    began: Instant,
    before: Option<&(Instant, BTreeMap<u32, u64>)>,
) -> Value {
    let waits = &found.waits;
    let now = switches(found);
    let (mut stills, mut wrong) = (0, Vec::new());
    if let Some((then, counts)) = before {
        // A root that is said not to have run since before the look before.
        let apart = u64::try_from(began.duration_since(*then).as_nanos()).unwrap_or(u64::MAX);
        for root in waits.roots.iter().filter(|it| it.still_ns.is_some_and(|ns| ns > apart)) {
            stills += 1;
            if let (Some(was), Some(is)) = (counts.get(&root.task), now.get(&root.task))
                && was != is
            {
                wrong.push(format!("{root:?}: {was} and {is} switches"));
            }
        }
    }
    let changed = found.problems.iter().filter(|it| it.contains("changed while")).count();
    json!({
        "load": load, "kernel": kernel, "edges": waits.edges.len(), "roots": waits.roots.len(),
        "cycles": waits.cycles.len(), "rings": waits.cycles, "stills": stills, "false_stills": wrong.len(),
        "wrong": wrong, "changed": changed, "tasks": found.tasks.len(), "problems": found.problems,
    })
}
