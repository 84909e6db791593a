//! `bench hostile`: what a bundle that was made to harm costs the controller before it is refused.
//!
//! Each is streamed to the real process by `POST /api/v1/bundles`; memory is the peak of the process
//! during the request, less what it had before.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use vmward_bundle::sample::harmful::{self, Harm};
use vmward_tests::controller::Controller;

use super::{Args, Figure, Samples, largest};

/// Runs of each case when `--runs` does not say.
const RUNS: usize = 3;
/// What a refusal may cost.
const SECONDS: f64 = 2.0;
const MIB: f64 = 64.0;
/// What is made beforehand: so much, within this time.
const ROOM: usize = 64 << 20;
const MAKE: std::time::Duration = std::time::Duration::from_secs(20);

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    for case in harmful::ALL {
        let done = samples.lines.iter().filter(|it| it["case"] == case.name).count();
        for _ in done..args.runs.unwrap_or(RUNS) {
            eprintln!("bench hostile: {}", case.name);
            samples.add(sample(case)?)?;
        }
    }
    let mut figures = Vec::new();
    for case in harmful::ALL {
        let of = |key: &str| -> Vec<f64> {
            let of_case = samples.lines.iter().filter(|it| it["case"] == case.name);
            of_case.filter_map(|it| it[key].as_f64()).collect()
        };
        figures.push(Figure::at_most(&format!("{}: time", case.name), largest(&of("seconds")), "s", SECONDS));
        figures.push(Figure::at_most(
            &format!("{}: memory", case.name),
            largest(&of("grown_mib")),
            "MiB",
            MIB,
        ));
    }
    let wrong = samples.lines.iter().filter(|it| it["as_it_should"] != true).count();
    figures.push(Figure::at_most("answers that were not as they should", wrong as f64, "answers", 0.0));
    Ok(figures)
}

/// What a case writes, made beforehand where that is not much.
enum Stream {
    Whole(Vec<u8>),
    Endless,
}

fn prepared(case: Harm) -> Stream {
    let (send, made) = std::sync::mpsc::channel();
    // One that goes on for long is left to end by itself when its room is full.
    std::thread::spawn(move || {
        let mut room = Room(Vec::new());
        let whole = case.write(&mut room).map(|()| room.0);
        let _nobody_waits = send.send(whole);
    });
    match made.recv_timeout(MAKE) {
        Ok(Ok(whole)) => Stream::Whole(whole),
        Ok(Err(_)) | Err(_) => Stream::Endless,
    }
}

/// Holds so much and no more.
struct Room(Vec<u8>);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > ROOM {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn sample(case: &Harm) -> Result<serde_json::Value> {
    let stream = prepared(*case);
    // One process for each: memory that one case leaves behind would hide what the next one takes.
    let controller = Controller::start()?;
    // Once beforehand, so that what any first request of a process costs is not the case's.
    let whole = harmful::harmless().context("while packing a bundle")?;
    let first = controller.post("/api/v1/bundles", |to| to.write_all(&whole))?;
    if first.status != 201 {
        bail!("a whole bundle was not taken: {}", first.json()?);
    }
    let before = memory(controller.pid(), "VmRSS:")?;
    // proc(5): 5 resets the peak resident set size.
    std::fs::write(format!("/proc/{}/clear_refs", controller.pid()), "5")
        .context("while resetting the peak")?;
    let begun = Instant::now();
    let answer = controller.post("/api/v1/bundles", |to| match &stream {
        Stream::Whole(bytes) => bytes.chunks(64 << 10).try_for_each(|it| to.write_all(it)),
        Stream::Endless => case.write(to),
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = memory(controller.pid(), "VmHWM:")?;
    let said = answer.json()?;
    let detail = said["detail"].as_str().unwrap_or_default();
    let refused = matches!(answer.status, 413 | 422) && detail.contains(case.says);
    let taken = case.says.is_empty() && matches!(answer.status, 200 | 201);
    Ok(json!({
        "case": case.name, "seconds": seconds, "grown_mib": (peak - before).max(0.0), "before_mib": before,
        "status": answer.status, "detail": detail, "as_it_should": taken || (refused && !case.says.is_empty()),
    }))
}

/// A line of `/proc/PID/status`, MiB.
fn memory(pid: u32, line: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("while reading the controller's memory: has it ended?")?;
    let kib: f64 = text
        .lines()
        .find_map(|it| it.strip_prefix(line))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .with_context(|| format!("no {line} in status"))?;
    Ok(kib / 1024.0)
}
