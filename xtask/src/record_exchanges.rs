//! `cargo xtask record-exchanges`: has each side talk to the other's older self and keeps what they say in
//! `tests/exchanges/VERSION`, where tests of this and of every later release replay it.
//!
//! The programs are the real ones. The guest is a socket that stands for a QEMU, the report is written by
//! the agent's own writer: what is on record is the exchange. Two runs differ at most in the order of events
//! that come at the same time.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use vmward::report::{self, Content, Origin};
use vmward_model::{EventKind, Incident, Provenance, Rung, Sensitivity, Stamp, TransportKind};
use vmward_qemu_fixtures::qemu::RunFolder;
use vmward_tests::controller::Controller;
use vmward_tests::fake::FakeQemu;
use vmward_tests::record::{self, Recorder};
use vmward_tests::ward::{Plan, Ward};
use vmward_tests::{binary, stored};

use crate::run::root;

/// The report's incident.
const INCIDENT: &str = "0198c0de-0000-7000-8000-000000000001";
/// What takes longer does not work.
const LONG: Duration = Duration::from_secs(30);

/// Arguments of `cargo xtask record-exchanges`.
#[derive(clap::Args)]
pub struct Args {
    /// The release that they are kept as.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    release: String,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = root().join("tests/exchanges").join(&args.release);
    let artifacts = folder.join("artifacts");
    if artifacts.exists() {
        std::fs::remove_dir_all(&artifacts).context("while removing the artifacts of before")?;
    }
    let older = Plan { program: Some(binary::older_vmward()?), ..plan() };
    exchange(older, &Controller::start()?, &folder.join("older-agent"), &artifacts)?;
    exchange(plan(), &Controller::start_older()?, &folder.join("older-controller"), &artifacts)?;
    println!("{}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn plan() -> Plan {
    Plan { guests: Vec::new(), ..Plan::for_guest("") }
}

/// A few events of a guest and a report, from the agent of `plan` to `controller`.
fn exchange(plan: Plan, controller: &Controller, folder: &Path, artifacts: &Path) -> Result<()> {
    let sockets = RunFolder::new()?;
    let fake = FakeQemu::start(sockets.path())?;
    let recorder = Recorder::start(controller)?;
    let more = format!(
        "{}\n[[guest]]\nname = \"example\"\nwatch = true\nscenarios = [\"kernel-trouble\"]\n\
         qmp = {{ path = {:?}, policy = \"hold\" }}\nconsole = {{ unix = {:?} }}\n",
        recorder.entry(),
        fake.qmp_path(),
        fake.console_path()
    );
    // Nothing passes until everything is in the spool, so that it leaves in one order.
    let mut ward = Ward::start(&Plan { more, ..plan })?;
    ward.wait_well(&["kernel-trouble"], LONG)?;
    write_report(&ward)?;
    fake.tell("POWERDOWN");
    let told =
        |it: &vmward_model::Event| matches!(&it.kind, EventKind::Qemu { name, .. } if name == "POWERDOWN");
    ward.wait_event("event of QEMU", LONG, told)?;
    std::thread::sleep(Duration::from_secs(1));
    recorder.open();
    let end = Instant::now() + LONG;
    let numbers = |ward: &Ward| -> Result<Vec<u64>> { Ok(ward.events()?.iter().map(|it| it.seq).collect()) };
    while !stored::has_report(controller, INCIDENT)? || stored::event_numbers(controller)? != numbers(&ward)?
    {
        ensure!(Instant::now() < end, "not everything arrived; the agent said:\n{}", ward.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = recorder.seen();
    drop(recorder);
    for it in &seen {
        ensure!(it.answer.status < 300, "{} {}: {:?}", it.method, it.target, it.answer.json());
    }
    record::write(&seen, &[sockets.path(), ward.folder()], folder, artifacts)
}

/// Three artifacts: one of a line, one that is kept in a file of its own, one that may not leave.
fn write_report(ward: &Ward) -> Result<()> {
    let at: Stamp = serde_json::from_str(r#"{"utc":"2026-01-01T00:00:00Z","mono_ms":1}"#)?;
    let incident: Incident = serde_json::from_value(serde_json::json!({
        "format": 1, "id": INCIDENT, "guest": "00000000-0000-0000-0000-000000000001",
        "guest_name": "example", "incarnation": { "pid": 1, "start_ticks": 1, "boot": 0 },
        "state": "reported", "guest_state": "running",
        "notice": { "scenario": "app-label", "at": at, "first_failure": at },
        "opening": { "class": "suspect", "confidence": "possible", "scenario": "app-label", "at": at,
            "evidence": [{ "source": "probe:app-label", "text": "no label for 12 s", "supports": true }] },
        "class": "suspect", "findings": [], "captures": [],
    }))?;
    let content = |sensitivity, text: String| Content {
        kind: "raw".into(),
        media_type: "text/plain".into(),
        sensitivity,
        provenance: Provenance {
            capture: "c".into(),
            transport: TransportKind::Host,
            rung: Rung::L0,
            at,
            took_ms: 1,
            paused_us: 0,
        },
        truncated: false,
        bytes: text.into_bytes(),
    };
    let lines = |n: usize| (1..=n).map(|n| format!("line {n} of the console\n")).collect::<String>();
    let contents = [
        content(Sensitivity::Status, lines(1)),
        content(Sensitivity::Text, lines(120)),
        content(Sensitivity::Memory, lines(2)),
    ];
    let origin = Origin { writer: "vmward".into(), host: "host.example".into(), written: at };
    report::write(&ward.reports(), &incident, &contents, &origin)?;
    Ok(())
}
