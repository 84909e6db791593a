//! `bench upload`: from a report that was written on the host to the moment at which the controller shows
//! it, how many go over in a minute, and what both processes take meanwhile.
//!
//! Agent and controller are the real programs, the reports are written by the agent's own writer, each of
//! 2 MiB that does not pack. An event of a monitor after each stands for that of an examination: it
//! is what wakes the spool.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vmward::agent::clock;
use vmward::report::{Content, Origin, write};
use vmward_bundle::sample;
use vmward_model::IncidentId;
use vmward_qemu_fixtures::qemu::RunFolder;
use vmward_tests::controller::Controller;
use vmward_tests::fake::FakeQemu;
use vmward_tests::ward::{Plan, Ward};

use super::demo::rss_mib;
use super::{Args, Figure, Samples, largest, percentile};

/// Reports one by one, when `--runs` does not say.
const RUNS: usize = 100;
/// Reports at once.
const BURST: usize = 120;
/// Bytes of one report's artifact.
const SIZE: usize = 2 << 20;
/// A report that is not there by then is lost.
const LOST: Duration = Duration::from_secs(60);
/// From the writer's return to visible.
const P50_S: f64 = 1.0;
const P99_S: f64 = 5.0;
/// Reports a minute.
const RATE: f64 = 120.0;
/// Resident memory.
const CONTROLLER_MIB: f64 = 256.0;
const AGENT_MIB: f64 = 64.0;

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    let controller = Controller::start()?;
    let folder = RunFolder::new()?;
    let fake = FakeQemu::start(folder.path())?;
    let name = format!("upload-{}", std::process::id());
    let mut plan = Plan { guests: Vec::new(), ..Plan::for_guest("") };
    plan.more = format!(
        "{}\n[[guest]]\nname = {name:?}\nwatch = true\nscenarios = [\"kernel-trouble\"]\n\
         qmp = {{ path = {:?}, policy = \"hold\" }}\nconsole = {{ unix = {:?} }}\n",
        controller.entry(),
        fake.qmp_path(),
        fake.console_path()
    );
    let ward = Ward::start(&plan)?;
    // The first hello, the first connection.
    ward.wait_ready(Duration::from_secs(30))?;
    std::thread::sleep(Duration::from_secs(5));
    let done = samples.lines.iter().filter(|it| it["seconds"].is_number()).count();
    for number in done..args.runs.unwrap_or(RUNS) {
        eprintln!("bench upload: report {}", number + 1);
        let id = report(&ward.reports())?;
        let begun = Instant::now();
        fake.tell("POWERDOWN");
        wait(&controller, id, begun)?;
        samples.add(taken(&ward, &controller, json!({ "seconds": begun.elapsed().as_secs_f64() }))?)?;
        // As examinations come, not in step with the spool.
        std::thread::sleep(Duration::from_millis(100 + (number as u64 * 37) % 200));
    }
    if !samples.lines.iter().any(|it| it["per_minute"].is_number()) {
        eprintln!("bench upload: {BURST} reports at once");
        let begun = Instant::now();
        let mut ids = Vec::new();
        for _ in 0..BURST {
            ids.push(report(&ward.reports())?);
            fake.tell("POWERDOWN");
        }
        let written = begun.elapsed().as_secs_f64();
        let mut peak = (0.0_f64, 0.0_f64);
        for id in &ids {
            wait(&controller, *id, Instant::now())?;
            peak = (peak.0.max(rss_mib(ward.pid())?), peak.1.max(rss_mib(controller.pid())?));
        }
        let rate = ids.len() as f64 / begun.elapsed().as_secs_f64() * 60.0;
        samples.add(json!({
            "per_minute": rate, "written_s": written, "agent_mib": peak.0, "controller_mib": peak.1,
        }))?;
    }
    Ok(figures(samples))
}

fn figures(samples: &Samples) -> Vec<Figure> {
    let seconds = samples.numbers("seconds");
    let rates = samples.numbers("per_minute");
    let slowest =
        if rates.is_empty() { f64::NAN } else { rates.iter().copied().fold(f64::INFINITY, f64::min) };
    vec![
        Figure::at_most("written to visible, p50", percentile(&seconds, 0.5), "s", P50_S),
        Figure::at_most("written to visible, p99", percentile(&seconds, 0.99), "s", P99_S),
        Figure::shown("written to visible, longest", largest(&seconds), "s"),
        Figure {
            figure: format!("{BURST} reports of 2 MiB at once"),
            value: slowest,
            unit: "/min".into(),
            target: format!(">= {RATE}"),
            met: slowest >= RATE,
        },
        Figure::at_most(
            "controller, RSS",
            largest(&samples.numbers("controller_mib")),
            "MiB",
            CONTROLLER_MIB,
        ),
        Figure::at_most("agent, RSS", largest(&samples.numbers("agent_mib")), "MiB", AGENT_MIB),
    ]
}

/// Writes one report of a new incident.
fn report(reports: &Path) -> Result<IncidentId> {
    std::fs::create_dir_all(reports).context("while making the folder of reports")?;
    let mut incident = sample::incident();
    let id = IncidentId(uuid::Uuid::now_v7());
    incident.id = id;
    incident.notice.at = clock::now();
    let noise = std::fs::File::open("/dev/urandom").and_then(|mut file| {
        let mut bytes = vec![0; SIZE];
        std::io::Read::read_exact(&mut file, &mut bytes).map(|()| bytes)
    });
    let artifact = sample::manifest(&[("raw", b"")]).artifacts.remove(0);
    let content = Content {
        kind: artifact.kind,
        media_type: artifact.media_type,
        sensitivity: artifact.sensitivity,
        provenance: artifact.provenance,
        truncated: false,
        bytes: noise.context("while making noise")?,
    };
    let origin = Origin { writer: "bench upload".into(), host: "bench".into(), written: clock::now() };
    write(reports, &incident, &[content], &origin).context("while writing a report")?;
    Ok(id)
}

fn wait(controller: &Controller, id: IncidentId, from: Instant) -> Result<()> {
    while !controller.has_report(&id.to_string())? {
        if from.elapsed() > LOST {
            bail!("report {id} is not at the controller after {LOST:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn taken(ward: &Ward, controller: &Controller, mut sample: Value) -> Result<Value> {
    sample["agent_mib"] = json!(rss_mib(ward.pid())?);
    sample["controller_mib"] = json!(rss_mib(controller.pid())?);
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_without_samples_are_not_met() {
        let samples = Samples { path: "unused".into(), lines: Vec::new() };
        assert!(figures(&samples).iter().filter(|it| !it.target.is_empty()).all(|it| !it.met));
    }
}
