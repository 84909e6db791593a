//! `bench isolation`: nine guests keep their rounds while the tenth misbehaves in each of its ways.
//!
//! One agent watches ten guests. For each way, phases with the tenth healthy and phases with it bad
//! alternate; the rounds of the other nine are compared between the two.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vmward::agent::clock;
use vmward::agent::rounds::RoundFigures;
use vmward_qemu_fixtures::qemu::{Guest, RunFolder};
use vmward_qemu_fixtures::unikernel::{self, Mode};
use vmward_tests::fake::{Console, FakeQemu, Monitor};
use vmward_tests::ward::{Plan, Ward};

use super::{Args, Figure, Samples, percentile};

/// Phases of each kind for each way when `--runs` does not say.
const RUNS: usize = 5;
/// How long a phase lasts.
const PHASE: Duration = Duration::from_secs(12);
/// How long another client may wait for its turn at the monitor.
const GREETING: Duration = Duration::from_secs(30);
/// How much longer a round may take at the 99th percentile.
const FACTOR: f64 = 1.2;

/// The ways of the tenth guest.
const WAYS: [&str; 6] = ["stopped", "held", "silent", "garbage", "closes", "flood"];

/// The tenth guest: a real QEMU where that can do it, else a fake one.
struct Tenth {
    real: Guest,
    fake: FakeQemu,
    holder: Option<UnixStream>,
}

impl Tenth {
    fn set(&mut self, way: &str, bad: bool) -> Result<()> {
        match way {
            "stopped" => self.real.signal(if bad { Signal::SIGSTOP } else { Signal::SIGCONT })?,
            "held" => {
                self.holder = None;
                if bad {
                    self.holder = Some(take_monitor(&self.real)?);
                }
            }
            "silent" => self.fake.monitor(if bad { Monitor::Silent } else { Monitor::Healthy }),
            "garbage" => self.fake.monitor(if bad { Monitor::Garbage } else { Monitor::Healthy }),
            "closes" => self.fake.monitor(if bad { Monitor::ClosesMidReply } else { Monitor::Healthy }),
            "flood" => self.fake.console(if bad { Console::Floods } else { Console::Labels }),
            other => bail!("no way called {other:?}"),
        }
        Ok(())
    }
}

/// Takes the monitor that the agent uses, and keeps it: it serves one client at a time. The agent asks it
/// and leaves, so a client that waits gets its turn; the greeting is the proof.
fn take_monitor(guest: &Guest) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(guest.qmp_path()).context("while taking the monitor")?;
    stream.set_read_timeout(Some(GREETING)).context("while taking the monitor")?;
    let mut greeting = [0; 7];
    stream.read_exact(&mut greeting).context("while waiting for the monitor's greeting")?;
    Ok(stream)
}

/// Runs it.
pub fn run(args: &Args, samples: &mut Samples) -> Result<Vec<Figure>> {
    let nine: Vec<String> = (0..9).map(|n| format!("iso-{}-{n}", std::process::id())).collect();
    let tenth_name = format!("iso-{}-tenth", std::process::id());
    let fake_name = format!("iso-{}-fake", std::process::id());
    let guests: Vec<Guest> = nine
        .iter()
        .map(|name| Ok(unikernel::guest(name, Mode::Heartbeat)?.boot()?))
        .collect::<Result<_>>()?;
    let folder = RunFolder::new()?;
    let fake = FakeQemu::start(folder.path())?;
    let mut tenth =
        Tenth { real: unikernel::guest(&tenth_name, Mode::Heartbeat)?.boot()?, fake, holder: None };
    let mut plan = Plan {
        guests: nine.clone(),
        settings: "prompt = \"unikernel> $\"\nqmp-policy = \"hold\"\n".into(),
        ..Plan::for_guest("")
    };
    plan.more = format!(
        "\n[[guest]]\nname = {tenth_name:?}\nwatch = true\nscenarios = {:?}\nprompt = \"unikernel> $\"\n\
         qmp-policy = \"brief\"\n\
         \n[[guest]]\nname = {fake_name:?}\nwatch = true\nscenarios = {:?}\nqmp = {{ path = {:?}, policy = \"hold\" }}\n\
         console = {{ unix = {:?} }}\n",
        plan.scenarios,
        ["kernel-trouble", "app-label"],
        tenth.fake.qmp_path(),
        tenth.fake.console_path(),
    );
    let ward = Ward::start(&plan)?;
    std::thread::sleep(Duration::from_secs(15));
    let chosen = |way: &&str| args.faults.is_empty() || args.faults.iter().any(|it| it == way);
    for way in WAYS.into_iter().filter(chosen) {
        for number in 0..args.runs.unwrap_or(RUNS) {
            for bad in [false, true] {
                if samples
                    .lines
                    .iter()
                    .any(|it| it["way"] == way && it["number"] == number && it["bad"] == bad)
                {
                    continue;
                }
                eprintln!("bench isolation: {way}, {} {}", if bad { "bad" } else { "healthy" }, number + 1);
                tenth.set(way, bad)?;
                let from = clock::now().mono_ms;
                std::thread::sleep(PHASE);
                let to = clock::now().mono_ms;
                let sample = phase(&ward, &nine, from, to)?;
                tenth.set(way, false)?;
                let mut sample = sample;
                sample["way"] = json!(way);
                sample["number"] = json!(number);
                sample["bad"] = json!(bad);
                samples.add(sample)?;
            }
        }
    }
    drop(guests);
    Ok(figures(samples))
}

/// The rounds of the nine between two moments of the host's clock.
fn phase(ward: &Ward, nine: &[String], from_ms: u64, to_ms: u64) -> Result<Value> {
    let text =
        std::fs::read_to_string(ward.state().join("rounds.jsonl")).context("while reading the rounds")?;
    let rounds: Vec<RoundFigures> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|round: &RoundFigures| nine.contains(&round.name))
        .filter(|round| (from_ms * 1000..to_ms * 1000).contains(&round.scheduled_us))
        .collect();
    if rounds.is_empty() {
        bail!(
            "the nine guests had no round in this phase; the agent's last lines:\n{}",
            vmward_tests::ward::tail(&ward.log(), 20)
        );
    }
    let missed: u64 = rounds.iter().map(|round| round.missed).sum();
    let not_passed = rounds.iter().filter(|round| round.answer != "pass").count();
    // What a guest sees of a delay: how late a round began, and how long it took.
    let took: Vec<u64> = rounds.iter().map(|round| round.late_us + round.took_us).collect();
    Ok(json!({ "rounds": rounds.len(), "missed": missed, "not_passed": not_passed, "took_us": took }))
}

fn figures(samples: &Samples) -> Vec<Figure> {
    let mut figures = Vec::new();
    for way in WAYS.into_iter().filter(|way| samples.lines.iter().any(|it| it["way"] == *way)) {
        let took = |bad: bool| -> Vec<f64> {
            let of = samples.lines.iter().filter(|it| it["way"] == way && it["bad"] == bad);
            of.filter_map(|it| it["took_us"].as_array()).flatten().filter_map(Value::as_f64).collect()
        };
        let missed: f64 =
            samples.lines.iter().filter(|it| it["way"] == way).filter_map(|it| it["missed"].as_f64()).sum();
        let (healthy, bad) = (percentile(&took(false), 0.99), percentile(&took(true), 0.99));
        figures.push(Figure::at_most(&format!("{way}: rounds missed by the nine"), missed, "rounds", 0.0));
        figures.push(Figure::shown(&format!("{way}: p99 round, tenth healthy"), healthy / 1000.0, "ms"));
        figures.push(Figure::shown(&format!("{way}: p99 round, tenth bad"), bad / 1000.0, "ms"));
        figures.push(Figure::at_most(
            &format!("{way}: p99 bad over healthy"),
            bad / healthy,
            "times",
            FACTOR,
        ));
    }
    figures
}
