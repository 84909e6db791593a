//! A whole diagnosis: captures, findings, the bundle on disk. The real [`Ports`] of a guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::timeout;
use vmward_findings::{CASE_KIND, Case, catalogue::Catalogue, conclude};
use vmward_model::observed::{ConsoleSeen, LabelsSeen, ShellSeen, TroubleSeen};
use vmward_model::{
    EventKind, FORMAT, GuestState, Incarnation, Incident, IncidentState, Provenance, Rung, Sensitivity,
    Severity, TransportKind,
};

use super::clock;
use super::events::Events;
use super::guest::ports::{Examined, Job, Later, Ports};
use super::guest::seen::ShellReply;
use super::links::{Handles, is_hvc};
use crate::capture::{ConsoleNow, Context, OverChild, OverConsole, OverQmp, Plan, UnderGuardian, diagnose};
use crate::config::{Diagnosis, GuestPolicy, L3, ProbeSpec, Scenario};
use crate::guardian::L2Settings;
use crate::look::{MinicoreOrder, Pool};
use crate::node::{Process, Reader};
use crate::opener;
use crate::probe::Settings;
use crate::report::{Content, Origin, enforce, write};
use crate::transport::console::text;
use crate::transport::process::process_name;
use crate::transport::qmp::{L2Permit, L3Permit};
use crate::transport::sysrq::Ways;

/// Lines of the console in the case; the raw bytes are an artifact of their own.
const TAIL_LINES: usize = 60;
/// Of a diagnosis' time, what is kept for writing the bundle.
const WRITING: Duration = Duration::from_secs(5);

/// All that the actor of one guest has others do.
#[derive(Clone, Debug)]
pub struct Examiner {
    /// The guest's transports.
    pub handles: Handles,
    /// Its scenarios as configured.
    pub scenarios: Arc<Vec<Scenario>>,
    /// Every diagnosis.
    pub diagnoses: Arc<BTreeMap<String, Diagnosis>>,
    /// What holds for it.
    pub policy: GuestPolicy,
    /// Where bundles go.
    pub reports: PathBuf,
    /// How much disk all bundles together may take, in bytes.
    pub reports_cap: u64,
    /// Where it is told which bundles went for a new one.
    pub events: Events,
    /// What waits for a controller: then room is made in its order.
    pub spool: Option<crate::spool::Handle>,
    /// For the gdb socket of a pause.
    pub run_folder: PathBuf,
    /// Children that look at memory.
    pub looks: Pool,
    /// Threads that may be lost to reads of this guest's `/proc`.
    pub reader: Reader,
}

impl Ports for Examiner {
    fn shell(&self, scenario: &str, settings: &Settings) -> Later<ShellReply> {
        self.handles.shell(scenario, &settings.command, settings.timeout)
    }

    fn ask_status(&self) {
        self.handles.nudge.notify_one();
    }

    fn rebooted(&self) {
        if let Some(console) = self.handles.console.clone() {
            tokio::spawn(async move { console.restarted().await });
        }
    }

    fn examine(&self, job: Job) -> Later<Result<Examined, String>> {
        let it = self.clone();
        Box::pin(async move { it.whole(job).await })
    }
}

impl Examiner {
    async fn whole(self, job: Job) -> Result<Examined, String> {
        let incarnation = job.about.incarnation.unwrap_or(Incarnation { pid: 0, start_ticks: 0, boot: 0 });
        let plan = self.plan(&job);
        let context = Arc::new(self.context(&job, incarnation));
        let within = job.within.saturating_sub(WRITING);
        let examined = timeout(within, diagnose(context, &plan)).await;
        let examined =
            examined.map_err(|_| format!("the captures were not over within {} s", within.as_secs()))?;

        let mut case = Case::new(job.about.guest, incarnation, job.view.state, job.opening.clone());
        case.probes = job.answers;
        case.events = job.events;
        case.observed = examined.observed;
        without_registers(&mut case);
        case.kernel = examined.kernel;
        case.captures = examined.records;
        let conclusion = conclude(&case);
        let summary = summary(&conclusion);

        let mut contents: Vec<Content> = examined
            .artifacts
            .into_iter()
            .map(|it| Content {
                kind: it.kind.to_owned(),
                media_type: it.media_type.to_owned(),
                sensitivity: it.sensitivity,
                provenance: it.provenance,
                truncated: it.truncated,
                bytes: it.bytes,
            })
            .collect();
        contents.push(Content {
            kind: CASE_KIND.to_owned(),
            media_type: "application/json".to_owned(),
            sensitivity: Sensitivity::Text,
            provenance: Provenance {
                capture: CASE_KIND.to_owned(),
                transport: TransportKind::Host,
                rung: examined.highest.unwrap_or(Rung::L0),
                at: examined.began,
                took_ms: examined.took_ms,
                paused_us: 0,
            },
            truncated: false,
            bytes: serde_json::to_vec(&case).map_err(|error| format!("cannot write the case: {error}"))?,
        });
        let incident = Incident {
            format: FORMAT,
            id: job.incident,
            guest: job.about.guest,
            guest_name: job.about.name,
            incarnation,
            state: IncidentState::Reported,
            guest_state: job.view.state,
            notice: job.notice,
            opening: job.opening,
            class: conclusion.class,
            findings: conclusion.findings,
            captures: case.captures,
        };
        let class = incident.class;
        let origin = Origin {
            writer: concat!("vmward ", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host_name(),
            written: clock::now(),
        };
        let reports = self.reports;
        let folder = reports.clone();
        let writing = tokio::task::spawn_blocking(move || write(&reports, &incident, &contents, &origin));
        match timeout(WRITING, writing).await {
            Ok(Ok(Ok(bundle))) => {
                let bundle = bundle.path().to_owned();
                // Nobody waits for it: the bundle is there, and room is only needed by the next one.
                let (cap, events, newest) = (self.reports_cap, self.events, bundle.clone());
                match self.spool {
                    Some(spool) => spool.make_room(newest),
                    None => {
                        drop(tokio::task::spawn_blocking(move || make_room(&folder, cap, &newest, &events)))
                    }
                }
                Ok(Examined { class, summary, bundle })
            }
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(format!("writing the bundle broke: {error}")),
            Err(_) => Err(format!("the disk did not take the bundle within {} s", WRITING.as_secs())),
        }
    }

    /// The diagnosis that the scenario names, else the default one, else everything there is.
    fn plan(&self, job: &Job) -> Plan {
        let scenario = self.scenarios.iter().find(|it| it.name == job.opening.scenario);
        let named = scenario.map_or("default", |it| it.diagnosis.as_str());
        let failed = !job.on_demand;
        match self.diagnoses.get(named).or_else(|| self.diagnoses.get("default")) {
            Some(it) => Plan::of(it, &self.policy, failed),
            None => Plan {
                l2: self.policy.l2,
                l3: self.policy.l3,
                keys: self.policy.sysrq.as_str().to_owned(),
                failed,
                ..Plan::default()
            },
        }
    }

    fn context(&self, job: &Job, incarnation: Incarnation) -> Context {
        let Handles { monitor, console, built, .. } = &self.handles;
        let connected = job.view.console.link.is_ok();
        let allowed = self.policy.l3 == L3::AfterFailure && !job.on_demand;
        // A guest without vCPUs that run takes no key; a dead one is asked all the same, briefly.
        let runs = !matches!(job.view.state, GuestState::Gone | GuestState::Paused | GuestState::Saving);
        let sysrq = console.clone().filter(|_| allowed && connected && runs).map(|link| {
            let ways = Ways {
                chardev: built.as_ref().and_then(|it| it.chardev.clone()),
                hvc: built.as_ref().is_some_and(is_hvc),
                keyboard: monitor.is_some(),
                log_level: None,
            };
            let why = format!("policy l3 = after-failure, incident {}", job.incident);
            let permit = L3Permit::allowed(why);
            let over = OverConsole { permit, console: link, monitor: monitor.clone(), ways };
            Arc::new(over) as Arc<dyn crate::capture::SysRq>
        });
        let seen = self.console_seen(job);
        let now = ConsoleNow { seen, link: console.clone() };
        Context {
            incarnation,
            guest_state: job.view.state,
            process: Process::new(
                incarnation.pid,
                incarnation.start_ticks,
                self.reader.clone(),
                opener::Client::where_there_is_one(),
            ),
            monitor: monitor.clone().map(|it| Arc::new(OverQmp(it)) as Arc<dyn crate::capture::Monitor>),
            console: console.is_some().then(|| Arc::new(now) as Arc<dyn crate::capture::Console>),
            sysrq,
            pauser: self.pauser(incarnation.pid),
            memory: self.memory(incarnation),
            vcpu_threads: OnceLock::new(),
            memory_read: OnceLock::new(),
            queues_since: OnceLock::new(),
        }
    }

    /// The way to its memory, where there is a process.
    fn memory(&self, incarnation: Incarnation) -> Option<Arc<dyn crate::capture::Memory>> {
        let minicore = self.policy.keep_memory.then(MinicoreOrder::default);
        let over = OverChild { pool: self.looks.clone(), layout: self.handles.layout.clone(), minicore };
        (incarnation.pid != 0).then(|| Arc::new(over) as Arc<dyn crate::capture::Memory>)
    }

    /// The way to pause the guest, where its owner opted in.
    fn pauser(&self, pid: u32) -> Option<Arc<dyn crate::capture::Pauser>> {
        let monitor = self.handles.monitor.clone().filter(|_| self.policy.l2)?;
        // The name in the kernel is cut to 15 bytes. RAM of the arm64 `virt` machine begins at 1 GiB
        // (QEMU hw/arm/virt.c, VIRT_MEM), that of x86 at 0.
        let arm = process_name(pid).is_some_and(|it| it.starts_with("qemu-system-aar"));
        let settings =
            L2Settings { budget: self.policy.pause_budget.get(), ..L2Settings::new(self.run_folder.clone()) };
        Some(Arc::new(UnderGuardian {
            permit: L2Permit::opted_in("policy l2 = true"),
            monitor,
            settings,
            ram: if arm { 0x4000_0000 } else { 0 },
        }))
    }

    fn console_seen(&self, job: &Job) -> ConsoleSeen {
        let view = &job.view.console;
        let now = tokio::time::Instant::now();
        let ago = |at: tokio::time::Instant| millis(now.saturating_duration_since(at));
        let gap = self.scenarios.iter().find_map(|it| match &it.probe {
            ProbeSpec::ConsoleLabel(label) => Some((it.name.as_str(), label.max_gap.get())),
            _ => None,
        });
        let tail = self.handles.console.as_ref().map_or_else(Vec::new, |it| {
            let text = text::plain(&it.newest(16 << 10));
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut lines: Vec<String> = text.lines().rev().take(TAIL_LINES).map(str::to_owned).collect();
            lines.reverse();
            lines
        });
        ConsoleSeen {
            connected: view.link.is_ok(),
            silent_ms: view.last_byte.map(ago),
            phase: view.phase,
            tail,
            trouble: job
                .view
                .trouble
                .iter()
                .map(|(it, at)| TroubleSeen {
                    kind: it.kind.clone(),
                    title: it.title.clone(),
                    ago_ms: ago(*at),
                    bytes: it.bytes,
                    fatal: it.fatal,
                })
                .collect(),
            labels: gap.map(|(rule, gap)| {
                let seen = view.labels.get(rule);
                LabelsSeen {
                    count: seen.map_or(0, |(count, _)| *count),
                    last_ms: seen.map(|(_, at)| ago(*at)),
                    max_gap_ms: millis(gap),
                }
            }),
            shell: view.shell.clone().map(|it| ShellSeen { ago_ms: view.shell_at.map(ago), ..it }),
        }
    }
}

/// Takes the values of general registers out of a case: they may be anything that the guest computes with
/// (keys, passwords), and no rule reads them. They stay in the raw artifacts of the captures, which are of
/// sensitivity `memory`. What a vCPU was doing (address, stack, interrupts, sleep) stays.
fn without_registers(case: &mut Case) {
    let samples = case.observed.vcpus.iter_mut().flat_map(|it| &mut it.samples);
    samples.flat_map(|it| &mut it.cpus).for_each(|it| it.all.clear());
}

/// Drops the oldest bundles where all together take more than they may, and says so.
fn make_room(reports: &Path, cap: u64, newest: &Path, events: &Events) {
    match enforce(reports, cap, newest) {
        Ok(dropped) if !dropped.reports.is_empty() => {
            let mib = cap >> 20;
            let names = dropped.reports.join(", ");
            let text =
                format!("the oldest reports were dropped, all together took more than {mib} MiB: {names}");
            events.emit(Severity::Warn, None, EventKind::Note { text });
        }
        Ok(_) => {}
        Err(error) => {
            let text = format!(
                "reports take more disk than they may and none could be dropped from {}: {error}",
                reports.display()
            );
            events.emit(Severity::Error, None, EventKind::Note { text });
        }
    }
}

/// The deciding finding in a sentence of the catalogue; the class where there is none.
fn summary(conclusion: &vmward_findings::Conclusion) -> String {
    let Some(first) = conclusion.findings.first() else {
        return format!("no rule decided; the verdict stands: {}", conclusion.class);
    };
    match Catalogue::built_in() {
        Ok(catalogue) => catalogue.words(first).sentence,
        Err(error) => {
            tracing::error!("the message catalogue is broken: {error}");
            first.rule.clone()
        }
    }
}

fn host_name() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(error) => {
            tracing::warn!("the host's name cannot be read: {error}");
            String::new()
        }
    }
}

fn millis(it: Duration) -> u64 {
    u64::try_from(it.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_says_where_a_vcpu_was_and_not_what_its_registers_held() {
        let opening = serde_json::json!({
            "class": "suspect", "confidence": "possible", "scenario": "s", "at": clock::now(), "evidence": []
        });
        let guest = vmward_model::GuestId::from_name_and_disks("g", &[]);
        let incarnation = Incarnation { pid: 1, start_ticks: 1, boot: 0 };
        let opening = serde_json::from_value(opening).unwrap();
        let mut case = Case::new(guest, incarnation, GuestState::Running, opening);
        case.observed = serde_json::from_value(serde_json::json!({
            "vcpus": { "samples": [{ "at_ms": 0, "cpus": [
                { "index": 0, "ip": 4096, "sp": 8192, "halted": false, "all": { "RAX": 195948557 } }
            ] }] }
        }))
        .unwrap();
        without_registers(&mut case);
        let text = serde_json::to_string(&case).unwrap();
        assert!(text.contains("4096") && text.contains("8192"), "{text}");
        assert!(!text.contains("RAX") && !text.contains("195948557"), "{text}");
    }

    #[tokio::test]
    async fn an_event_says_which_reports_went() {
        let dir = tempfile::tempdir().unwrap();
        let reports = dir.path().join("reports");
        let ids = [1u64, 2].map(|second| {
            let at = uuid::Timestamp::from_unix(uuid::NoContext, second, 0);
            uuid::Uuid::new_v7(at).to_string()
        });
        for id in &ids {
            std::fs::create_dir_all(reports.join(id)).unwrap();
            std::fs::write(reports.join(id).join("manifest.json"), [b' '; 100]).unwrap();
        }
        let events = Events::open(&dir.path().join("events")).unwrap();
        make_room(&reports, 150, &reports.join(&ids[1]), &events);
        assert!(events.flushed(Duration::from_secs(20)).await);
        let all = crate::agent::events::read::all(&dir.path().join("events")).unwrap();
        let [EventKind::Note { text }] = &all.iter().map(|it| it.kind.clone()).collect::<Vec<_>>()[..] else {
            panic!("{all:?}")
        };
        assert!(text.contains(&ids[0]) && !text.contains(&ids[1]), "{text}");
    }
}
