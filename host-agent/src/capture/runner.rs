//! Climbs the safety ladder: L0, L1, L2 where the guest's owner opted in, L3 last.
//!
//! Each capture runs in a task of its own, so that one that panics or overruns loses nothing else. What
//! is not tried is recorded with the reason: a diagnosis never leaves a reader wondering.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use vmward_model::observed::{MonitorHealth, RunState, ThreadRole};
use vmward_model::{CaptureOutcome, CaptureRecord, GuestState, Provenance, Rung, Stamp, TransportKind};

use super::gate::{self, Closed};
use super::plan::Wanted;
use super::{
    Capture, Context, Examined, Miss, Outcome, Part, Plan, Raw, RawArtifact, Taken, Turn, border, registry,
    run_state,
};
use crate::agent::clock;
use crate::config::L3;

/// For the captures that tell of the diagnosis itself.
const LAST: Duration = Duration::from_secs(4);
/// A task that ignores its deadline (it never yields) is given up this much later.
const STUBBORN: Duration = Duration::from_millis(500);

type Shared = Arc<dyn Capture>;

/// Examines the guest.
pub async fn diagnose(cx: Arc<Context>, plan: &Plan) -> Examined {
    run(cx, plan, registry().into_iter().map(Arc::from).collect()).await
}

pub(super) async fn run(cx: Arc<Context>, plan: &Plan, captures: Vec<Shared>) -> Examined {
    let began = Instant::now();
    let mut run = Run { cx, examined: Examined::new(clock::now()), until: began + plan.quiet_budget };
    let on = |rung: Rung, turn: Turn| -> Vec<(Shared, Wanted)> {
        let chosen = captures.iter().filter(|it| it.rung() == rung && it.turn() == turn);
        let mut list: Vec<(Shared, Wanted)> =
            chosen.filter_map(|it| Some((Arc::clone(it), plan.wants(it.as_ref())?))).collect();
        list.sort_by_key(|(_, wanted)| wanted.group);
        list
    };

    run.side_by_side(on(Rung::L0, Turn::Usual)).await;
    run.l1(on(Rung::L1, Turn::Usual)).await;
    run.side_by_side(on(Rung::L0, Turn::Fallback)).await;
    run.l2(on(Rung::L2, Turn::Usual), plan).await;
    run.until = Instant::now() + plan.sysrq_budget;
    let mut keys = on(Rung::L3, Turn::Usual);
    let place =
        |name: &str| name.strip_prefix("sysrq-").and_then(|key| plan.keys.find(key)).unwrap_or(usize::MAX);
    keys.sort_by_key(|(capture, _)| place(capture.name()));
    run.l3(keys, plan).await;
    run.until = Instant::now() + LAST;
    run.l1(on(Rung::L1, Turn::Last)).await;
    run.side_by_side(on(Rung::L0, Turn::Last)).await;

    let mut examined = run.examined;
    name_vcpus(&mut examined, &run.cx);
    join_border(&mut examined, &run.cx);
    examined.took_ms = millis(began.elapsed());
    examined
}

struct Run {
    cx: Arc<Context>,
    examined: Examined,
    until: Instant,
}

impl Run {
    async fn l1(&mut self, list: Vec<(Shared, Wanted)>) {
        if list.is_empty() {
            return;
        }
        if let Some(closed) = gate::closed(&self.cx.process, &self.known_vcpus()).await {
            let monitor = match &closed {
                Closed::Gone(_) => Some(MonitorHealth::Absent),
                Closed::Stopped(_) => Some(MonitorHealth::Silent),
                Closed::Stuck(_) => None,
            };
            if let Some(monitor) = monitor {
                let state = self.cx.guest_state;
                let known = RunState { monitor, status: None, state, qemu_version: None, arch: None };
                self.examined.absorb(Part::RunState(known));
            }
            return self.skip(list, &closed.to_string());
        }
        let (first, rest): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|(it, _)| it.name() == run_state::NAME);
        self.side_by_side(first).await;
        let health = self.examined.observed.run_state.as_ref().map(|it| it.monitor.clone());
        if let Some(health) = health.filter(|it| *it != MonitorHealth::Answers) {
            return self.skip(rest, &format!("the monitor does not answer ({})", words(&health)));
        }
        // Now the threads are known for certain, whatever their names.
        if let Some(closed) = gate::closed(&self.cx.process, &self.known_vcpus()).await {
            return self.skip(rest, &closed.to_string());
        }
        self.side_by_side(rest).await;
    }

    async fn l2(&mut self, list: Vec<(Shared, Wanted)>, plan: &Plan) {
        if !plan.l2 {
            return self.skip(list, "the guest's policy does not allow rung L2 (a pause)");
        }
        let status = self.examined.observed.run_state.as_ref().and_then(|it| it.status.clone());
        if status.as_deref() != Some("running") {
            let seen = status.unwrap_or_else(|| "not known".to_owned());
            return self.skip(list, &format!("the run state is {seen}: only a running guest is paused"));
        }
        for one in list {
            if let Some(closed) = gate::closed(&self.cx.process, &self.known_vcpus()).await {
                self.skip(vec![one], &closed.to_string());
                continue;
            }
            self.side_by_side(vec![one]).await;
        }
    }

    async fn l3(&mut self, list: Vec<(Shared, Wanted)>, plan: &Plan) {
        if let Some(why) = self.off_l3(plan).await {
            return self.skip(list, &why);
        }
        for one in list {
            self.side_by_side(vec![one]).await;
        }
    }

    /// Why SysRq is not pressed at all.
    async fn off_l3(&self, plan: &Plan) -> Option<String> {
        match plan.l3 {
            L3::Never => return Some("the guest's policy does not allow rung L3 (SysRq)".to_owned()),
            L3::AfterFailure if !plan.failed => {
                return Some("no verdict failed: SysRq changes the guest".to_owned());
            }
            L3::AfterFailure => {}
        }
        let seen = &self.examined.observed;
        if let Some(trouble) = seen.console.iter().flat_map(|it| &it.trouble).find(|it| it.fatal) {
            return Some(format!("the kernel has stopped and said why: {}", trouble.title.escape_default()));
        }
        let status = seen.run_state.as_ref().and_then(|it| it.status.as_deref());
        if let Some(status) = status.filter(|it| *it != "running") {
            return Some(format!("the run state is {status}: the guest cannot answer"));
        }
        match self.cx.guest_state {
            state @ (GuestState::Panicked | GuestState::Gone | GuestState::ShutDown | GuestState::Paused) => {
                Some(format!("the guest is {state:?}: it cannot answer").to_lowercase())
            }
            _ => match gate::closed(&self.cx.process, &[]).await {
                Some(it @ (Closed::Gone(_) | Closed::Stopped(_))) => Some(it.to_string()),
                _ => None,
            },
        }
    }

    /// vCPU threads from `run-state`, else from the names that `host-threads` saw.
    fn known_vcpus(&self) -> Vec<u32> {
        let known = self.cx.vcpu_tids();
        if !known.is_empty() {
            return known;
        }
        let threads = self.examined.observed.host.iter().flat_map(|it| &it.threads);
        threads.filter(|it| matches!(it.role, ThreadRole::Vcpu(_))).map(|it| it.tid).collect()
    }

    fn skip(&mut self, list: Vec<(Shared, Wanted)>, why: &str) {
        let at = clock::now();
        for (capture, _) in list {
            let outcome = CaptureOutcome::Skipped { why: why.to_owned() };
            self.examined.records.push(record(capture.as_ref(), at, 0, 0, outcome));
        }
    }

    /// Runs the groups of `list`, each side by side.
    async fn side_by_side(&mut self, list: Vec<(Shared, Wanted)>) {
        let mut list = list.into_iter().peekable();
        while let Some((capture, wanted)) = list.next() {
            let group = wanted.group;
            let mut together = vec![self.begin(capture, wanted)];
            while let Some((capture, wanted)) = list.next_if(|(_, it)| it.group == group) {
                together.push(self.begin(capture, wanted));
            }
            for begun in together {
                self.end(begun).await;
            }
        }
    }

    fn begin(&self, capture: Shared, wanted: Wanted) -> Begun {
        let at = clock::now();
        let left = self.until.saturating_duration_since(Instant::now());
        let deadline = wanted.deadline.min(left);
        let needed = match capture.needed(&self.cx, &self.examined) {
            Ok(()) if left.is_zero() => Err("no time was left for it".to_owned()),
            other => other,
        };
        let work = needed.map(|()| {
            let (capture, cx) = (Arc::clone(&capture), Arc::clone(&self.cx));
            tokio::spawn(async move {
                let began = Instant::now();
                let outcome = tokio::time::timeout(deadline, capture.take(&cx)).await;
                let late = Err(Miss::Failed(format!("it did not end within {deadline:.1?}")));
                (outcome.unwrap_or(late), began.elapsed())
            })
        });
        Begun { capture, wanted, at, began: Instant::now(), deadline, work }
    }

    async fn end(&mut self, begun: Begun) {
        let Begun { capture, wanted, at, began, deadline, work } = begun;
        let (outcome, took) = match work {
            Err(why) => (Err(Miss::Skipped(why)), Duration::ZERO),
            Ok(work) => {
                let patience = (deadline + STUBBORN).saturating_sub(began.elapsed());
                finished(work, patience).await.unwrap_or_else(|why| (Err(Miss::Failed(why)), began.elapsed()))
            }
        };
        let (taken, outcome) = split(outcome);
        let took_ms = millis(took);
        if !matches!(outcome, CaptureOutcome::Skipped { .. }) {
            self.examined.highest = self.examined.highest.max(Some(capture.rung()));
        }
        if capture.transport() == TransportKind::Host
            && let CaptureOutcome::Partial { why } | CaptureOutcome::Failed { why } = &outcome
        {
            self.examined.problem(format!("{}: {why}", capture.name()));
        }
        self.examined.records.push(record(capture.as_ref(), at, took_ms, taken.paused_us, outcome));
        for part in taken.parts {
            self.examined.absorb(part);
        }
        let provenance = Provenance {
            capture: capture.name().to_owned(),
            transport: capture.transport(),
            rung: capture.rung(),
            at,
            took_ms,
            paused_us: taken.paused_us,
        };
        self.examined
            .artifacts
            .extend(taken.raw.into_iter().map(|it| artifact(it, wanted.cap, provenance.clone())));
    }
}

/// A capture that was begun, or why it was not.
struct Begun {
    capture: Shared,
    wanted: Wanted,
    at: Stamp,
    began: Instant,
    deadline: Duration,
    work: Result<JoinHandle<(Outcome, Duration)>, String>,
}

async fn finished(
    mut work: JoinHandle<(Outcome, Duration)>,
    patience: Duration,
) -> Result<(Outcome, Duration), String> {
    match tokio::time::timeout(patience, &mut work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => match error.try_into_panic() {
            Ok(payload) => {
                let text = payload.downcast_ref::<&str>().map(|it| (*it).to_owned());
                let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(format!("it ended in a panic, which is a bug: {text}"))
            }
            Err(error) => Err(error.to_string()),
        },
        Err(_) => {
            work.abort();
            Err("it ignored its deadline, which is a bug".to_owned())
        }
    }
}

fn split(outcome: Outcome) -> (Taken, CaptureOutcome) {
    match outcome {
        Ok(taken) if taken.missing.is_empty() => (taken, CaptureOutcome::Done),
        Ok(taken) => {
            let why = taken.missing.join("; ");
            (taken, CaptureOutcome::Partial { why })
        }
        Err(Miss::With(miss, taken)) => (*taken, split(Err(*miss)).1),
        Err(Miss::Failed(why)) => (Taken::default(), CaptureOutcome::Failed { why }),
        Err(Miss::Refused(why)) => (Taken::default(), CaptureOutcome::Refused { why }),
        Err(Miss::Skipped(why)) => (Taken::default(), CaptureOutcome::Skipped { why }),
    }
}

fn artifact(raw: Raw, cap: usize, provenance: Provenance) -> RawArtifact {
    let Raw { kind, media_type, sensitivity, mut bytes, truncated } = raw;
    let cut = bytes.len() > cap;
    bytes.truncate(cap);
    RawArtifact { kind, media_type, sensitivity, bytes, truncated: truncated || cut, provenance }
}

fn record(
    capture: &dyn Capture,
    at: Stamp,
    took_ms: u64,
    paused_us: u64,
    outcome: CaptureOutcome,
) -> CaptureRecord {
    CaptureRecord {
        capture: capture.name().to_owned(),
        rung: capture.rung(),
        at,
        took_ms,
        paused_us,
        outcome,
    }
}

/// Threads whose names said nothing, but whose vCPU QEMU has named meanwhile.
fn name_vcpus(examined: &mut Examined, cx: &Context) {
    let known = cx.vcpu_threads.get().map(Vec::as_slice).unwrap_or_default();
    for thread in examined.observed.host.iter_mut().flat_map(|it| &mut it.threads) {
        if let Some((index, _)) = known.iter().find(|(_, tid)| *tid == thread.tid) {
            thread.role = ThreadRole::Vcpu(*index);
        }
    }
}

/// Both sides of the guest's virtio devices, now that each was seen.
fn join_border(examined: &mut Examined, cx: &Context) {
    let Some(look) = &examined.kernel.look else { return };
    let since = cx.queues_since.get().copied();
    let from = |at: Instant, since: Instant| match at.checked_duration_since(since) {
        Some(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        None => i64::try_from(since.duration_since(at).as_millis()).map_or(i64::MIN, |it| -it),
    };
    let looked = cx.memory_read.get().zip(since);
    let looked = looked.map(|((began, ended), since)| (from(*began, since), from(*ended, since)));
    examined.kernel.border = border(&look.machine, &look.waits, &examined.observed, looked);
}

fn words(health: &MonitorHealth) -> String {
    match health {
        MonitorHealth::Answers => "it answers".to_owned(),
        MonitorHealth::Busy { peer } => format!("held by {peer}"),
        MonitorHealth::Silent => "silent".to_owned(),
        MonitorHealth::Garbage => "garbage".to_owned(),
        MonitorHealth::Closed => "closed".to_owned(),
        MonitorHealth::Absent => "absent".to_owned(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
