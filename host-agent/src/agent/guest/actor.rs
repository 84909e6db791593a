//! The task that owns one guest: what is seen comes in, rounds and diagnoses go out, and nothing
//! here ever waits for a guest.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use vmward_model::{
    Answer, Event, EventKind, GuestState, IncidentInput, IncidentState, ProbeAnswer, Severity,
};

use super::history::History;
use super::memory::{Memory, Remembered};
use super::order::{Order, Report, Status};
use super::ports::{Examined, Job, Ports};
use super::round::{self, Counted};
use super::running::{Asked, Running};
use super::scenario::Scenario;
use super::schedule::Due;
use super::seen::{Process, Seen, ShellReply};
use super::view::{Moved, View};
use crate::agent::clock;
use crate::agent::events::{About, Events};
use crate::agent::incident::Incident;
use crate::agent::live::{Live, LiveAnswer};
use crate::agent::rounds::{RoundFigures, Rounds, boottime_us};
use crate::agent::scribe::Scribe;
use crate::probe::{Said, Step};
use crate::verdict::{Change, Standing};

/// What all actors share. Every handle in it is a channel or a queue.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The event store.
    pub events: Events,
    /// Figures of rounds.
    pub rounds: Rounds,
    /// The live view.
    pub live: Live,
    /// Children that look at guests' memory.
    pub looks: crate::look::Pool,
    /// What waits for a controller, where one is configured.
    pub spool: Option<crate::spool::Handle>,
}

/// How an actor behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The scenarios that are bound to the guest.
    pub scenarios: Vec<Scenario>,
    /// A diagnosis must be over in this time.
    pub diagnosis: Duration,
}

/// After a diagnosis was lost the next try waits so long, and there are so many tries.
const RETRY: (Duration, u32) = (Duration::from_secs(30), 3);
/// What a probe's own deadline is exceeded by before the actor gives up on it.
const MARGIN: Duration = Duration::from_millis(500);
/// What was seen is taken in batches of at most this many, so that a flood cannot starve the rounds.
const BATCH: usize = 64;

/// The actor.
pub struct Actor {
    about: About,
    manner: Manner,
    ports: Arc<dyn Ports>,
    shared: Shared,
    view: View,
    running: Vec<Running>,
    incident: Option<Incident>,
    memory: Memory,
    scribe: Scribe<Memory>,
    history: History,
    asked: JoinSet<(usize, usize, ShellReply)>,
    examined: JoinSet<(bool, Result<Examined, String>)>,
    waiting: Vec<tokio::sync::oneshot::Sender<Report>>,
}

impl Actor {
    /// The actor of a guest that was found; `memory` is what is left of it from before.
    pub fn new(
        about: About,
        manner: Manner,
        ports: Arc<dyn Ports>,
        shared: Shared,
        memory: Memory,
        scribe: Scribe<Memory>,
    ) -> Actor {
        let now = Instant::now();
        let view = View::new(now);
        let resumed = memory.incident.clone().filter(|it| !it.was_interrupted());
        let start = |at: usize, it: &Scenario| {
            let failed = resumed.as_ref().is_some_and(|incident| incident.failed.contains(&it.name));
            Running::new(at, it, now, memory.passed.contains(&it.name).then_some(failed))
        };
        let running = manner.scenarios.iter().enumerate().map(|(at, it)| start(at, it)).collect();
        let mut actor = Actor {
            about,
            manner,
            ports,
            shared,
            view,
            running,
            incident: resumed.map(|it| Incident::resume(it, now)),
            memory,
            scribe,
            history: History::default(),
            asked: JoinSet::new(),
            examined: JoinSet::new(),
            waiting: Vec::new(),
        };
        actor.interrupted();
        actor.view.boot = actor.memory.incarnation.boot;
        actor
    }

    /// Runs until the guest's process is gone and everything about it is said, or until nobody
    /// feeds it any more.
    pub async fn run(mut self, seen: &mut mpsc::Receiver<Seen>, orders: &mut mpsc::Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                () = sleep_until(wake) => {}
                Some(reply) = self.asked.join_next() => self.replied(reply),
                Some(done) = self.examined.join_next() => self.diagnosed(done),
                Some(order) = orders.recv() => self.order(order),
                count = seen.recv_many(&mut batch, BATCH) => match count {
                    0 => break,
                    _ => batch.drain(..).for_each(|it| self.seen(it)),
                },
            }
            self.turn();
            if self.over() {
                break;
            }
        }
        self.scribe.flushed(Duration::from_secs(5)).await;
    }

    /// When something is due by the clock.
    fn wake(&self) -> Instant {
        let rounds = self.running.iter().map(|it| it.schedule.next()).min();
        let settled = self.incident.as_ref().filter(|it| it.state == IncidentState::Open);
        // While another diagnosis runs, its end is what is waited for.
        let settled = settled.filter(|it| it.lost < RETRY.1 && self.examined.is_empty());
        let settled = settled.map(|it| it.settled);
        let far = Instant::now() + Duration::from_secs(60);
        [rounds, settled].into_iter().flatten().min().unwrap_or(far)
    }

    /// Does what is due by the clock.
    fn turn(&mut self) {
        let now = Instant::now();
        for at in 0..self.running.len() {
            let Some(it) = self.running.get_mut(at) else { continue };
            let busy = it.asked.is_some();
            if let Some(due) = it.schedule.due(now, busy) {
                self.begin(at, due);
            }
        }
        let settled = self
            .incident
            .as_ref()
            .is_some_and(|it| it.state == IncidentState::Open && it.lost < RETRY.1 && it.settled <= now);
        if settled && self.examined.is_empty() {
            self.diagnose();
        }
    }

    /// The process is gone and nothing is left to say.
    fn over(&self) -> bool {
        let quiet =
            self.incident.as_ref().is_none_or(|it| it.state == IncidentState::Reported || it.lost >= RETRY.1);
        self.view.state == GuestState::Gone && quiet && self.examined.is_empty()
    }

    fn seen(&mut self, seen: Seen) {
        let now = Instant::now();
        let gone = seen == Seen::Process(Process::Gone);
        let wakes = |it: &Scenario| it.asks.iter().any(|ask| ask.probe.wakes_on(&seen));
        let awake: Vec<usize> =
            self.manner.scenarios.iter().enumerate().filter(|(_, it)| wakes(it)).map(|(at, _)| at).collect();
        let moved = self.view.take(seen, now);
        self.moved(moved);
        for at in awake {
            self.ask_at_once(at, now);
        }
        if gone {
            // Rounds are over; only what says why it is gone is still wanted.
            self.asked.abort_all();
        }
    }

    fn moved(&mut self, moved: Moved) {
        for (severity, kind) in moved.events {
            self.emit(severity, kind);
        }
        if moved.ask_status {
            self.ports.ask_status();
        }
        if moved.excuse {
            self.running.iter_mut().for_each(|it| it.watch.excuse());
        }
        if moved.new_boot {
            self.ports.rebooted();
            self.running.iter_mut().for_each(|it| it.watch.new_life());
            if let Some(incarnation) = &mut self.about.incarnation {
                incarnation.boot = self.view.boot;
                self.memory.incarnation = *incarnation;
            }
            self.memory.passed.clear();
            self.trouble_ended();
            self.remember();
        }
    }

    /// Begins the round of a scenario.
    fn begin(&mut self, at: usize, due: Due) {
        let now = Instant::now();
        let Some(scenario) = self.manner.scenarios.get(at) else { return };
        let mut round = Asked::new(due, now, clock::now());
        for (index, ask) in scenario.asks.iter().enumerate() {
            let step = match ask.probe.begin(&self.view, &ask.settings, now) {
                Step::Say(said) => Err(said),
                Step::Shell if !self.examined.is_empty() => {
                    Err(Said::unknown("a diagnosis uses the console"))
                }
                Step::Shell => round::may_type(&self.view).map_err(Said::unknown),
            };
            match step {
                Err(said) => {
                    let said = round::count(&self.view, scenario, ask, said, now);
                    round.answers.push(Counted { probe: ask.probe.name(), said, took: Duration::ZERO });
                }
                Ok(()) => {
                    let reply = self.ports.shell(&scenario.name, &ask.settings);
                    let waited = ask.settings.timeout.saturating_add(MARGIN);
                    self.asked.spawn(async move {
                        let reply = timeout(waited, reply).await;
                        (at, index, reply.unwrap_or(ShellReply::Silent { waited }))
                    });
                    round.open = round.open.saturating_add(1);
                }
            }
        }
        if let Some(it) = self.running.get_mut(at) {
            it.asked = Some(round);
        }
        self.finish(at);
    }

    fn replied(&mut self, reply: Result<(usize, usize, ShellReply), tokio::task::JoinError>) {
        let (at, index, reply) = match reply {
            Ok(reply) => reply,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                self.emit(Severity::Error, EventKind::Note { text: format!("a probe broke: {error}") });
                self.running.iter_mut().for_each(|it| it.asked = None);
                return;
            }
        };
        let now = Instant::now();
        let Some(scenario) = self.manner.scenarios.get(at) else { return };
        let (Some(ask), Some(it)) = (scenario.asks.get(index), self.running.get_mut(at)) else { return };
        let Some(round) = &mut it.asked else { return };
        self.view.shell(&reply, now);
        let said = ask.probe.read(&self.view, &ask.settings, &reply, now);
        let passed = said.answer == Answer::Pass;
        let said = round::count(&self.view, scenario, ask, said, now);
        let took = now.saturating_duration_since(round.began);
        round.answers.push(Counted { probe: ask.probe.name(), said, took });
        round.open = round.open.saturating_sub(1);
        if passed {
            let moved = self.view.shows_life("an answer on the console", now);
            self.moved(moved);
        }
        self.finish(at);
    }

    /// Takes the answers of a round that is complete.
    fn finish(&mut self, at: usize) {
        let Some(it) = self.running.get_mut(at) else { return };
        let Some(round) = it.asked.take_if(|it| it.open == 0) else { return };
        let Some(scenario) = self.manner.scenarios.get(at).map(|it| it.name.clone()) else { return };
        let sum = round::sum(&round.answers, round.at);
        let now = Instant::now();
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        self.shared.rounds.put(RoundFigures {
            guest: self.about.guest,
            name: self.about.name.clone(),
            scenario: scenario.clone(),
            scheduled_us: boottime_us(round.due.scheduled),
            late_us: micros(round.began.saturating_duration_since(round.due.scheduled)),
            took_us: micros(now.saturating_duration_since(round.began)),
            missed: round.due.missed,
            answer: word(&sum.answer).to_owned(),
        });
        let answers = round.model(&scenario);
        it.last = Some(sum.clone());
        for answer in answers {
            self.tell(answer);
        }
        let change = match self.running.get_mut(at) {
            Some(it) => it.watch.observe(sum),
            None => return,
        };
        self.changed(at, &scenario, change);
    }

    /// Asks the event-driven probes of a scenario out of turn; only a failure counts.
    fn ask_at_once(&mut self, at: usize, now: Instant) {
        let Some(scenario) = self.manner.scenarios.get(at) else { return };
        let mut round = Asked::new(Due { scheduled: now, missed: 0 }, now, clock::now());
        for ask in &scenario.asks {
            if let Step::Say(said) = ask.probe.begin(&self.view, &ask.settings, now) {
                let said = round::count(&self.view, scenario, ask, said, now);
                if matches!(said.answer, Answer::Fail(_)) && said.alarms_untried {
                    round.answers.push(Counted { probe: ask.probe.name(), said, took: Duration::ZERO });
                }
            }
        }
        let name = scenario.name.clone();
        if round.answers.is_empty()
            || self.running.get(at).is_none_or(|it| it.watch.standing() == Standing::Failed)
        {
            return;
        }
        for answer in round.model(&name) {
            self.tell(answer);
        }
        let sum = round::sum(&round.answers, round.at);
        let sure = sum.confidence == vmward_model::Confidence::Certain;
        let Some(it) = self.running.get_mut(at) else { return };
        // What QEMU, the host or the kernel says with certainty needs no second round.
        let change = if sure { it.watch.certain(sum) } else { it.watch.observe(sum) };
        self.changed(at, &name, change);
    }

    fn tell(&mut self, answer: ProbeAnswer) {
        let (guest, name) = (self.about.guest, self.about.name.clone());
        self.shared.live.tell(LiveAnswer { guest, name, state: self.view.state, answer: answer.clone() });
        self.history.answer(answer);
    }

    fn changed(&mut self, at: usize, scenario: &str, change: Change) {
        let now = Instant::now();
        match change {
            Change::None => {}
            Change::FirstPass => {
                self.memory.passed.insert(scenario.to_owned());
                self.remember();
                let why = "it passed for the first time".to_owned();
                self.emit(
                    Severity::Info,
                    EventKind::ScenarioChanged { scenario: scenario.to_owned(), well: true, why },
                );
            }
            Change::Recovered => {
                let why = "it passes again".to_owned();
                self.emit(
                    Severity::Info,
                    EventKind::ScenarioChanged { scenario: scenario.to_owned(), well: true, why },
                );
                if self.incident.as_mut().is_some_and(|it| it.recovered(scenario)) {
                    self.trouble_ended();
                }
                self.remember();
            }
            Change::Failed(failure) => {
                let last = self.running.get(at).and_then(|it| it.last.as_ref()).map(|it| &it.answer);
                let why = match (failure.evidence.iter().rfind(|it| it.supports), last) {
                    (Some(it), _) => it.text.clone(),
                    (None, Some(Answer::Fail(why))) => why.clone(),
                    _ => String::new(),
                };
                let (well, name) = (false, scenario.to_owned());
                self.emit(
                    Severity::Warn,
                    EventKind::ScenarioChanged { scenario: name, well, why: why.clone() },
                );
                if self.incident.as_mut().is_none_or(|it| it.also(scenario, &failure)) {
                    self.trouble_ended();
                    let incident = Incident::open(scenario, failure, clock::now(), now);
                    let summary = format!("{}: {why} (noticed by {scenario})", incident.opening.class);
                    self.incident_event(&incident, "opened", summary);
                    self.incident = Some(incident);
                }
                self.remember();
            }
        }
    }

    /// Begins the diagnosis of the incident that has settled.
    fn diagnose(&mut self) {
        let Some(incident) = &mut self.incident else { return };
        incident.input(IncidentInput::DiagnosisBegan);
        let job = Job {
            incident: incident.id,
            about: self.about.clone(),
            notice: incident.notice.clone(),
            opening: incident.opening.clone(),
            view: self.view.clone(),
            answers: self.history.answers(),
            events: self.history.events(),
            on_demand: false,
            within: self.manner.diagnosis,
        };
        self.remember();
        self.examine(job);
    }

    fn examine(&mut self, job: Job) {
        let (within, on_demand) = (job.within, job.on_demand);
        let later = self.ports.examine(job);
        self.examined.spawn(async move {
            // Whoever examines keeps the time; this is for one that does not.
            let done = timeout(within.saturating_add(Duration::from_secs(10)), later).await;
            (
                on_demand,
                done.unwrap_or_else(|_| Err(format!("it was not over within {} s", within.as_secs()))),
            )
        });
    }

    fn diagnosed(&mut self, done: Result<(bool, Result<Examined, String>), tokio::task::JoinError>) {
        let (on_demand, done) = done.unwrap_or_else(|error| (false, Err(format!("it broke: {error}"))));
        for waiting in self.waiting.drain(..) {
            // Whoever asked may have gone.
            drop(waiting.send(Report::Examined(done.clone())));
        }
        if on_demand {
            return;
        }
        let Some(mut incident) = self.incident.take() else { return };
        let closed = match done {
            Ok(examined) => {
                incident.bundle = Some(examined.bundle.clone());
                let closed = incident.input(IncidentInput::BundleWritten);
                let summary =
                    format!("{}: {} ({})", examined.class, examined.summary, examined.bundle.display());
                self.incident_event(&incident, "examined", summary);
                closed
            }
            Err(why) => {
                let closed = incident.input(IncidentInput::DiagnosisLost);
                incident.settled = Instant::now() + RETRY.0;
                self.incident_event(&incident, "not-examined", format!("the diagnosis was lost: {why}"));
                closed
            }
        };
        if closed {
            self.incident_event(&incident, "closed", "the guest is well again".to_owned());
        } else {
            self.incident = Some(incident);
        }
        self.remember();
    }

    /// The trouble of the open incident is over: the guest is well, or started again.
    fn trouble_ended(&mut self) {
        let Some(mut incident) = self.incident.take() else { return };
        if incident.input(IncidentInput::TroubleEnded) {
            self.incident_event(&incident, "closed", "the trouble is over".to_owned());
        } else {
            self.incident = Some(incident);
        }
    }

    /// Says what the agent's own end interrupted.
    fn interrupted(&mut self) {
        if let Some(it) = self.memory.incident.take_if(|it| it.was_interrupted()) {
            let Remembered { id, .. } = it;
            let summary = "the agent ended in the middle of it; nothing half-done was kept".to_owned();
            self.emit(Severity::Warn, EventKind::Incident { id, what: "interrupted".to_owned(), summary });
        }
        self.scribe.put(self.memory.clone());
    }

    fn incident_event(&mut self, incident: &Incident, what: &str, summary: String) {
        let severity = if what == "closed" { Severity::Info } else { incident.severity() };
        self.emit(severity, EventKind::Incident { id: incident.id, what: what.to_owned(), summary });
    }

    fn emit(&mut self, severity: Severity, kind: EventKind) {
        let event: Event = self.shared.events.emit(severity, Some(&self.about), kind);
        self.history.event(event);
    }

    fn remember(&mut self) {
        self.memory.incident = self.incident.as_ref().map(Incident::remember);
        self.scribe.put(self.memory.clone());
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Status(answer) => {
                let status = Status {
                    guest: self.about.guest,
                    name: self.about.name.clone(),
                    incarnation: self.about.incarnation,
                    state: self.view.state,
                    scenarios: self.running.iter().map(Running::status).collect(),
                    incident: self.incident.as_ref().map(|it| (it.id, it.state)),
                    bundle: self.incident.as_ref().and_then(|it| it.bundle.clone()),
                };
                drop(answer.send(status));
            }
            Order::Round(only) => {
                let now = Instant::now();
                for at in 0..self.running.len() {
                    let named = |it: &Scenario| only.as_ref().is_none_or(|only| *only == it.name);
                    let wanted = self.manner.scenarios.get(at).is_some_and(named);
                    if wanted && self.running.get(at).is_some_and(|it| it.asked.is_none()) {
                        self.begin(at, Due { scheduled: now, missed: 0 });
                    }
                }
            }
            Order::Diagnose(answer) => {
                if self.examined.is_empty() {
                    let job = self.history.on_demand(&self.about, &self.view, self.manner.diagnosis);
                    self.examine(job);
                }
                self.waiting.push(answer);
            }
        }
    }
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Pass => "pass",
        Answer::Fail(_) => "fail",
        Answer::Unknown(_) => "unknown",
    }
}
