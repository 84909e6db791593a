//! The thread that owns the spool, and the handle by which others ask it.
//!
//! A disk that is full, fails or hangs holds up this thread alone: what it could not take stays in the
//! sources, and it tries again at a growing pace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot, watch};
use vmward_model::exchange::{Dropped, SpoolCounters};
use vmward_model::{Event, EventKind, IncidentId, Severity};

use super::bound::Bound;
use super::feed::Feed;
use super::files::{Files, RealFiles};
use super::ledger::{Fate, Source};
use super::record::{ALL, Body, word};
use super::room;
use super::store::Spool;
use crate::agent::events::Events;

/// Questions that may wait.
const QUESTIONS: usize = 64;
/// The sources are looked at this often, told or not.
const LOOK: Duration = Duration::from_secs(5);
/// Pace of new tries after the disk failed: the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// An answer of the keeper is waited for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Drops are told of at most so often, so that the telling does not fill what is full.
const TELL: Duration = Duration::from_secs(600);
/// An entry that was set aside is tried again after this.
const ASIDE: Duration = Duration::from_secs(3600);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The spool's folder.
    pub folder: PathBuf,
    /// The event store.
    pub events: PathBuf,
    /// The folder of reports.
    pub reports: PathBuf,
    /// How much disk all reports together may take, in bytes.
    pub reports_cap: u64,
    /// How much the spool may hold.
    pub bound: Bound,
}

/// How the spool stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The counters.
    pub counters: SpoolCounters,
    /// Why it cannot be used just now.
    pub problem: Option<String>,
}

/// What is to be sent next.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// Events with the numbers of their entries, the highest severity first, the oldest within one.
    pub events: Vec<(u64, Event)>,
    /// A report of the severity that comes first, the oldest.
    pub report: Option<NextReport>,
    /// How the spool stands.
    pub counters: SpoolCounters,
}

/// A report that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextReport {
    /// The entry's number.
    pub seq: u64,
    /// The bundle's name in the folder of reports.
    pub bundle: String,
    /// The incident.
    pub incident: IncidentId,
}

enum Question {
    Wake,
    Next { entries: usize, bytes: u64, answer: oneshot::Sender<Result<Next, String>> },
    End { fates: Vec<(u64, Fate)>, answer: oneshot::Sender<Result<(), String>> },
    Aside { seq: u64, why: String, answer: oneshot::Sender<Result<(), String>> },
    Again,
    Room { newest: PathBuf },
}

/// The way to the spool. Cloning is cheap; the thread ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Handle {
    questions: SyncSender<Question>,
    standing: watch::Receiver<Standing>,
}

/// Starts the thread. A spool that cannot be opened just now is opened later.
///
/// # Errors
/// When there can be no thread.
pub fn start(place: Place, events: Events) -> std::io::Result<Handle> {
    start_on(RealFiles, place, events)
}

pub(super) fn start_on<F: Files + Clone + 'static>(
    files: F,
    place: Place,
    events: Events,
) -> std::io::Result<Handle> {
    let (questions, asked) = sync_channel(QUESTIONS);
    let (tell, standing) = watch::channel(Standing::default());
    let keeper = Keeper {
        feed: Feed::new(&place.events, &place.reports),
        files,
        place,
        events,
        spool: None,
        tell,
        aside: BTreeMap::new(),
        failing: None,
        told: None,
    };
    std::thread::Builder::new().name("spool".into()).spawn(move || keeper.keep(&asked))?;
    Ok(Handle { questions, standing })
}

impl Handle {
    /// Says that there may be something new in the sources.
    pub fn wake(&self) {
        // A full queue is looked at soon, and the sources with it.
        drop(self.questions.try_send(Question::Wake));
    }

    /// Wakes the keeper whenever an event was written, until there are no more events.
    pub async fn follow(self, mut events: broadcast::Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    // Events come in bursts: one step takes them all.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = events.try_recv() {}
                    self.wake();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// What is to be sent next, of what was not set aside: at most so many events of about so many bytes.
    ///
    /// # Errors
    /// When the spool cannot be used just now.
    pub async fn next(&self, entries: usize, bytes: u64) -> Result<Next, String> {
        self.ask(|answer| Question::Next { entries, bytes, answer }).await
    }

    /// Ends entries.
    ///
    /// # Errors
    /// When that could not be written down; they wait on.
    pub async fn end(&self, fates: Vec<(u64, Fate)>) -> Result<(), String> {
        self.ask(|answer| Question::End { fates, answer }).await
    }

    /// Sets an entry aside for an hour or until the next start.
    ///
    /// # Errors
    /// When that could not be written down; it is set aside all the same.
    pub async fn aside(&self, seq: u64, why: String) -> Result<(), String> {
        self.ask(|answer| Question::Aside { seq, why, answer }).await
    }

    /// Takes back in what was set aside.
    pub fn again(&self) {
        // A full queue: then it comes back in an hour.
        drop(self.questions.try_send(Question::Again));
    }

    /// Makes room in the folder of reports, where `newest` was just written. Nobody waits for it.
    pub fn make_room(&self, newest: PathBuf) {
        if self.questions.try_send(Question::Room { newest }).is_err() {
            tracing::warn!("the spool is busy: room for reports is made after the next one");
        }
    }

    /// How the spool stands, now and from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Question,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        match self.questions.try_send(question(answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err("the spool is busy".to_owned()),
            Err(TrySendError::Disconnected(_)) => return Err("the spool has ended".to_owned()),
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the spool has ended".to_owned()),
            Err(_) => Err(format!("the spool's disk did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

struct Failing {
    why: String,
    since: Instant,
    tries: u32,
    again: Instant,
}

struct Keeper<F: Files> {
    files: F,
    place: Place,
    events: Events,
    feed: Feed,
    spool: Option<Spool<F>>,
    tell: watch::Sender<Standing>,
    aside: BTreeMap<u64, Instant>,
    failing: Option<Failing>,
    told: Option<Instant>,
}

impl<F: Files + Clone> Keeper<F> {
    fn keep(mut self, asked: &Receiver<Question>) {
        loop {
            if self.failing.as_ref().is_none_or(|it| it.again <= Instant::now()) {
                let done = self.look();
                self.note(done);
            }
            self.stand();
            let mut wait = LOOK;
            if let Some(it) = &self.failing {
                wait = it.again.saturating_duration_since(Instant::now());
            }
            let until = Instant::now() + wait;
            loop {
                match asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(Question::Wake) if self.failing.is_none() => break,
                    Ok(question) => {
                        self.answer(question);
                        self.stand();
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Opens what is not open and catches up.
    fn look(&mut self) -> Result<(), String> {
        let mut spool = match self.spool.take() {
            Some(spool) => spool,
            None => Spool::open(self.files.clone(), &self.place.folder, self.place.bound)
                .map_err(|error| error.to_string())?,
        };
        let done = self.feed.catch_up(&mut spool);
        self.spool = Some(spool);
        done.map_err(|error| error.to_string())
    }

    /// Takes note of how a try went, and says so when that is news.
    fn note(&mut self, done: Result<(), String>) {
        let now = Instant::now();
        match (done, self.failing.take()) {
            (Ok(()), None) => {}
            (Ok(()), Some(it)) => {
                let seconds = it.since.elapsed().as_secs();
                let text = format!(
                    "the spool works again after {seconds} s ({}); what happened meanwhile was caught up with",
                    it.why
                );
                self.events.emit(Severity::Warn, None, EventKind::Note { text });
            }
            (Err(why), before) => {
                let tries = before.as_ref().map_or(0, |it| it.tries.saturating_add(1));
                if before.is_none() {
                    tracing::error!("the spool cannot be used: {why}");
                    let text = format!(
                        "the spool cannot be used, events and reports wait where they are: {why}; \
                         see `vmward doctor`"
                    );
                    self.events.emit(Severity::Error, None, EventKind::Note { text });
                }
                let pace = RETRY.0.saturating_mul(1 << tries.min(10)).min(RETRY.1);
                let since = before.map_or(now, |it| it.since);
                self.failing = Some(Failing { why, since, tries, again: now + pace });
            }
        }
    }

    /// Shows how it stands, and tells of drops now and then.
    fn stand(&mut self) {
        let problem = self.failing.as_ref().map(|it| it.why.clone());
        let counters = match &self.spool {
            Some(spool) => spool.state().counters(),
            None => self.tell.borrow().counters,
        };
        let standing = Standing { counters, problem };
        self.tell.send_if_modified(|it| {
            let news = *it != standing;
            *it = standing;
            news
        });
        let due = self.told.is_none_or(|it| it.elapsed() >= TELL);
        if let Some(spool) = self.spool.as_mut().filter(|it| due && it.untold.total() > 0) {
            let text = format!(
                "the spool was full and dropped what matters least: {}",
                by_severity(&std::mem::take(&mut spool.untold))
            );
            self.told = Some(Instant::now());
            self.events.emit(Severity::Warn, None, EventKind::Note { text });
        }
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have gone: that is no error.
        match question {
            Question::Wake => {}
            Question::Next { entries, bytes, answer } => drop(answer.send(self.next(entries, bytes))),
            Question::End { fates, answer } => {
                let done = self.with(|spool| spool.end(&fates).map_err(|error| error.to_string()));
                self.aside.retain(|seq, _| fates.iter().all(|(it, _)| it != seq));
                drop(answer.send(done));
            }
            Question::Aside { seq, why, answer } => {
                self.aside.insert(seq, Instant::now() + ASIDE);
                let done = self.with(|spool| spool.aside(seq, &why).map_err(|error| error.to_string()));
                drop(answer.send(done));
            }
            Question::Again => self.aside.clear(),
            Question::Room { newest } => self.room(&newest),
        }
    }

    fn with<T>(&mut self, run: impl FnOnce(&mut Spool<F>) -> Result<T, String>) -> Result<T, String> {
        match &mut self.spool {
            Some(spool) => run(spool),
            None => Err("the spool is not open".to_owned()),
        }
    }

    fn next(&mut self, entries: usize, bytes: u64) -> Result<Next, String> {
        let now = Instant::now();
        self.aside.retain(|_, until| *until > now);
        let Some(spool) = &mut self.spool else { return Err("the spool is not open".to_owned()) };
        let mut next = Next { counters: spool.state().counters(), ..Next::default() };
        let mut taken = 0u64;
        let mut broken = Vec::new();
        for severity in ALL.iter().rev() {
            let ready = spool.state().of(*severity).filter(|it| !self.aside.contains_key(&it.seq));
            for entry in ready {
                let is_event = matches!(entry.source, Source::Event(_));
                let full = next.events.len() >= entries
                    || !next.events.is_empty() && taken.saturating_add(entry.bytes) > bytes;
                // What does not fit is not read, be it thousands.
                if if is_event { full } else { next.report.is_some() } {
                    continue;
                }
                match spool.record(entry).map(|it| it.body) {
                    Ok(Body::Event { event }) => {
                        taken = taken.saturating_add(entry.bytes);
                        next.events.push((entry.seq, *event));
                    }
                    Ok(Body::Report { bundle, incident, .. }) => {
                        next.report = Some(NextReport { seq: entry.seq, bundle, incident });
                    }
                    Err(error) => broken.push((entry.seq, entry.file_name(), error)),
                }
            }
            if next.report.is_some() || next.events.len() >= entries || taken >= bytes {
                break;
            }
        }
        for (seq, name, error) in broken {
            tracing::error!("the spool's {name} cannot be read: {error}");
            self.aside.insert(seq, now + ASIDE);
            let why = format!("its file cannot be read: {error}");
            if let Err(error) = spool.aside(seq, &why) {
                tracing::warn!("{error}");
            }
        }
        Ok(next)
    }

    fn room(&mut self, newest: &Path) {
        // A bundle that is not known yet would count as sent.
        let known = self.look();
        let usable = known.is_ok();
        self.note(known);
        let cap = self.place.reports_cap;
        let Some(spool) = self.spool.as_mut().filter(|_| usable) else { return };
        let (severity, text) = match room::make_room(spool, &self.place.reports, cap, newest) {
            Ok(gone) if gone.reports.is_empty() => return,
            Ok(gone) => {
                let mut text = format!(
                    "reports were dropped, all together took more than {} MiB: {}",
                    cap >> 20,
                    gone.reports.join(", ")
                );
                if !gone.unsent.is_empty() {
                    text.push_str(&format!("; no controller had {}", gone.unsent.join(", ")));
                }
                (Severity::Warn, text)
            }
            Err(error) => {
                let reports = self.place.reports.display();
                let text = format!(
                    "reports take more disk than they may and none could be dropped from {reports}: {error}"
                );
                (Severity::Error, text)
            }
        };
        self.events.emit(severity, None, EventKind::Note { text });
    }
}

/// `3 DEBUG, 1 WARN`.
fn by_severity(dropped: &Dropped) -> String {
    let mut dropped = *dropped;
    let each = ALL.iter().filter_map(|it| match *dropped.of(*it) {
        0 => None,
        n => Some(format!("{n} {}", word(*it))),
    });
    each.collect::<Vec<_>>().join(", ")
}
