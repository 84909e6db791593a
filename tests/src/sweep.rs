//! One run of one fault on one kernel, held against what `faults.toml` promises of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vmward_model::{CaptureOutcome, Event, EventKind, IncidentId, Manifest};
use vmward_qemu_fixtures::fault::catalogue::{Catalogue, Entry};
use vmward_qemu_fixtures::fault::{self, Fault};
use vmward_qemu_fixtures::qemu::{Error, Guest};
use vmward_qemu_fixtures::standard::standard_patient;

use crate::ask;
use crate::ward::{Plan, Ward};

/// How long an examination may take from the notice on, before a run is given up.
const EXAMINED: Duration = Duration::from_secs(90);
/// How long after the examination the scenarios that must stay well are watched on.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// Rounds of the slowest scenario during which a harmless fault must give nothing.
pub const HARMLESS_ROUNDS: u64 = 20;
/// Guests that died of something else before a run counts as failed.
const VOID_RUNS: u32 = 3;

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The fault.
    pub fault: String,
    /// The kernel.
    pub kernel: String,
    /// Everything that was not as promised; empty when all was.
    pub problems: Vec<String>,
    /// The final class.
    pub class: Option<String>,
    /// The class of the verdict that opened the incident.
    pub opening: Option<String>,
    /// The scenario that noticed.
    pub scenario: Option<String>,
    /// From the fault's own proof to the notice, seconds.
    pub notice_s: Option<f64>,
    /// From the notice to the whole bundle on disk, seconds.
    pub bundle_s: Option<f64>,
    /// How long the guest was paused by us, microseconds.
    pub paused_us: u64,
    /// Whether SysRq was tried.
    pub sysrq: bool,
    /// Guests that died of something else before this run.
    pub void: u32,
    /// Boots that it took.
    pub boots: u32,
}

impl Run {
    fn new(fault: &str, kernel: &str) -> Run {
        Run {
            fault: fault.to_owned(),
            kernel: kernel.to_owned(),
            problems: Vec::new(),
            class: None,
            opening: None,
            scenario: None,
            notice_s: None,
            bundle_s: None,
            paused_us: 0,
            sysrq: false,
            void: 0,
            boots: 0,
        }
    }

    /// A run whose fixture could not be made.
    pub fn failed(fault: &str, kernel: &str, why: String) -> Run {
        Run { problems: vec![why], ..Run::new(fault, kernel) }
    }

    /// Whether everything was as promised.
    pub fn is_as_promised(&self) -> bool {
        self.problems.is_empty()
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }
}

/// Runs `fault` on `kernel` once. A guest that dies of something else (double faults of some kernels
/// under emulation) is not the fault's doing: the run is made again and counted as void.
///
/// # Errors
/// When the fixture cannot be made; what the agent does wrong is in [`Run::problems`].
pub fn run(name: &str, kernel: &str) -> Result<Run> {
    run_with(name, kernel, |plan| plan, |_| Ok(()))
}

/// As [`run`], with a change to the agent's configuration, and with something that is done on the same
/// guest, still broken, right after the agent examined it.
///
/// # Errors
/// As for [`run`], and those of `after`.
pub fn run_with(
    name: &str,
    kernel: &str,
    tune: impl Fn(Plan) -> Plan,
    mut after: impl FnMut(&mut Guest) -> Result<()>,
) -> Result<Run> {
    let catalogue = Catalogue::shipped()?;
    let entry = catalogue.entry(name)?;
    let fault = fault::find(name)?;
    let mut void = 0;
    loop {
        match once(entry, fault, kernel, &tune, &mut after) {
            Err(error) if void < VOID_RUNS && is_void(&error) => void += 1,
            Err(error) => return Err(error.context(format!("while running {name} on {kernel}"))),
            Ok(run) => return Ok(Run { void, ..run }),
        }
    }
}

fn is_void(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Voided { .. })))
}

fn once(
    entry: &Entry,
    fault: &dyn Fault,
    kernel: &str,
    tune: &impl Fn(Plan) -> Plan,
    after: &mut impl FnMut(&mut Guest) -> Result<()>,
) -> Result<Run> {
    let mut run = Run::new(&entry.name, kernel);
    let name = format!("vmward-test-{}", std::process::id());
    let builder = standard_patient(kernel, fault)?.name(&name);
    // A guest that never gets ready has to be seen from its first byte on.
    let mut early = None;
    let mut guest = if fault.boots() {
        builder.boot()?
    } else {
        let guest = builder.start()?;
        early = Some(Instant::now());
        guest
    };
    run.boots = guest.boots();
    let mut ward = Ward::start(&tune(Plan::for_guest(&name)))?;
    if fault.boots() {
        ward.wait_well(&["shell-answers", "app-label"], Duration::from_secs(60))?;
        guest.check_not_void()?;
    }
    let proof = fault.inject(&mut guest)?;
    let broken = early.unwrap_or_else(Instant::now);
    if entry.is_harmless() {
        watch_harmless(&mut run, entry, &mut ward, &mut guest)?;
        after(&mut guest)?;
        return Ok(run);
    }
    let Some(incident) = wait_opened(&mut ward, entry.deadline + Duration::from_secs(30))? else {
        guest.check_not_void()?;
        run.problems.push(format!(
            "not noticed, though {}; the agent's last lines:\n{}",
            proof.text,
            crate::ward::tail(&ward.log(), 15)
        ));
        return Ok(run);
    };
    run.notice_s = Some(broken.elapsed().as_secs_f64());
    let noticed = Instant::now();
    ward.wait_incident("examined", EXAMINED)?;
    run.bundle_s = Some(noticed.elapsed().as_secs_f64());
    let bundle = ward.bundle(incident)?;
    let checked = bundle.verify().context("while checking the bundle")?;
    run.expect(checked.is_whole(), || format!("the bundle is not whole: {checked:?}"));
    hold_against(&mut run, entry, bundle.manifest());
    std::thread::sleep(AFTERWARDS);
    still_well(&mut run, entry, &ward.events()?, broken.elapsed());
    guest.check_not_void()?;
    if !run.is_as_promised() {
        keep_evidence(&run, &ward, bundle.path())?;
    }
    // The agent's own figures are all taken: the other program cannot spoil them. It gets the monitor
    // socket to itself, which serves one client at a time.
    drop(ward);
    after(&mut guest)?;
    Ok(run)
}

/// Puts the bundle and the agent's log of a run that was not as promised where somebody can look at them.
fn keep_evidence(run: &Run, ward: &Ward, bundle: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("while looking for the workspace")?;
    let folder = root.join("out/not-as-promised").join(format!("{}-{}", run.fault, run.kernel));
    std::fs::create_dir_all(folder.join("artifacts")).context("while making a folder for the evidence")?;
    std::fs::copy(bundle.join("manifest.json"), folder.join("manifest.json"))
        .context("while keeping the manifest")?;
    for entry in std::fs::read_dir(bundle.join("artifacts")).context("while listing the artifacts")? {
        let entry = entry.context("while listing the artifacts")?;
        std::fs::copy(entry.path(), folder.join("artifacts").join(entry.file_name()))
            .context("while keeping an artifact")?;
    }
    std::fs::write(folder.with_extension("log"), ward.log()).context("while keeping the agent's log")
}

fn wait_opened(ward: &mut Ward, wait: Duration) -> Result<Option<IncidentId>> {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        if let Some(id) = ward.incidents()?.first() {
            return Ok(Some(*id));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

/// Compares a finished incident with the entry of its fault.
fn hold_against(run: &mut Run, entry: &Entry, manifest: &Manifest) {
    let incident = &manifest.incident;
    run.class = Some(incident.class.name().to_owned());
    run.opening = Some(incident.opening.class.name().to_owned());
    run.scenario = Some(incident.notice.scenario.clone());
    run.paused_us = incident.captures.iter().map(|record| record.paused_us).sum();
    run.sysrq = incident.captures.iter().any(|record| {
        record.rung == vmward_model::Rung::L3 && !matches!(record.outcome, CaptureOutcome::Skipped { .. })
    });
    let class = incident.class.name();
    run.expect(class == entry.class, || format!("class {class}, not {}", entry.class));
    let opening = incident.opening.class.name();
    run.expect(entry.verdicts.iter().any(|it| it == opening), || {
        format!("opened as {opening}, not one of {:?}", entry.verdicts)
    });
    let scenario = &incident.notice.scenario;
    run.expect(entry.noticed_by.as_ref() == Some(scenario), || {
        format!("noticed by {scenario}, not {:?}", entry.noticed_by)
    });
    let notice = run.notice_s.unwrap_or(f64::INFINITY);
    run.expect(notice <= entry.deadline.as_secs_f64(), || {
        format!("noticed after {notice:.1} s, later than {:?}", entry.deadline)
    });
    let paused = run.paused_us;
    run.expect(paused == 0, || format!("the guest was paused for {paused} us"));
    for name in &entry.captures_succeed {
        let outcome = incident.captures.iter().find(|it| &it.capture == name).map(|it| &it.outcome);
        let gave = matches!(outcome, Some(CaptureOutcome::Done | CaptureOutcome::Partial { .. }));
        run.expect(gave, || format!("capture {name} gave nothing: {outcome:?}"));
    }
    for name in &entry.captures_fail {
        let outcome = incident.captures.iter().find(|it| &it.capture == name).map(|it| &it.outcome);
        let said = matches!(
            outcome,
            Some(
                CaptureOutcome::Failed { .. }
                    | CaptureOutcome::Refused { .. }
                    | CaptureOutcome::Skipped { .. }
            )
        );
        run.expect(said, || format!("capture {name} should have failed and said so: {outcome:?}"));
    }
}

/// No scenario that must stay well may have failed since the fault was made.
fn still_well(run: &mut Run, entry: &Entry, events: &[Event], since: Duration) {
    let Some(last) = events.last() else { return };
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let from = last.at.mono_ms.saturating_sub(since_ms);
    for event in events.iter().filter(|event| event.at.mono_ms >= from) {
        if let EventKind::ScenarioChanged { scenario, well: false, why } = &event.kind
            && entry.stay_well.contains(scenario)
        {
            run.problems.push(format!("{scenario} did not stay well: {why}"));
        }
    }
}

/// Watches a harmless fault: no incident, and an examination that somebody asks for finds its class.
fn watch_harmless(run: &mut Run, entry: &Entry, ward: &mut Ward, guest: &mut Guest) -> Result<()> {
    std::thread::sleep(Duration::from_secs(5) * u32::try_from(HARMLESS_ROUNDS).unwrap_or(u32::MAX));
    let opened = ward.incidents()?;
    run.expect(opened.is_empty(), || {
        format!(
            "{} incidents of a harmless thing; the agent's last lines:\n{}",
            opened.len(),
            crate::ward::tail(&ward.log(), 15)
        )
    });
    if guest.check_alive().is_err() {
        return Ok(());
    }
    let bundle: PathBuf = ask::diagnose(ward, guest.name())?;
    let manifest = vmward::report::open(&bundle).context("while opening the report")?.manifest().clone();
    let class = manifest.incident.class.name();
    run.class = Some(class.to_owned());
    run.expect(class == entry.class, || format!("class {class} when examined, not {}", entry.class));
    Ok(())
}
