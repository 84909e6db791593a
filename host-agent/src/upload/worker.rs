//! Sends what the spool holds, the highest severity first, over the first link that works.
//!
//! Between two calls it asks the spool again, so that nothing that matters more waits behind a large
//! artifact, and no report behind thousands of events: of one severity, a batch of events and a piece of
//! a report take turns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vmward_model::exchange::{Entry, EntryBody, GUEST_STATUS, Receipt, StatusPush};
use vmward_model::{Event, EventKind, Severity};

use super::allowed::Allowed;
use super::links::Links;
use super::peer::Peer;
use super::report::{Gauge, Stepped, Work};
use super::trouble::{Trouble, quoted};
use crate::agent::events::Events;
use crate::spool::{Fate, Handle, Next};

/// An entry that the controller did not take so often is set aside, so that others get their turn.
const TRIES: u32 = 4;
/// Of JSON, sent at once.
const BATCH_BYTES: u64 = 256 << 10;
/// How long the longest wait for something to do is; what was set aside comes back in it.
const LOOK: Duration = Duration::from_secs(30);
/// After an entry that was not taken, and after our own spool could not be read.
const HITCH: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Refusals are told of at most so often, so that the telling is not refused in its turn for ever.
const TELL: Duration = Duration::from_secs(600);

/// What a worker works with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) spool: Handle,
    pub(super) events: Events,
    pub(super) reports: PathBuf,
    pub(super) allowed: Allowed,
    pub(super) status: watch::Receiver<Option<Arc<StatusPush>>>,
    /// Events in one call.
    pub(super) batch: usize,
    /// The guests' states are told this often, where nothing changed.
    pub(super) status_every: Duration,
    /// An absence of all controllers is told of once it is this long.
    pub(super) absence: Duration,
}

/// No controller takes anything.
#[derive(Debug)]
struct Absence {
    since: Instant,
    told: bool,
}

/// The one task that sends.
#[derive(Debug)]
pub(super) struct Worker {
    tools: Tools,
    links: Links,
    /// The link of the last call.
    at: usize,
    work: Option<Work>,
    gauge: Gauge,
    /// Events in the next call: fewer after one that was not taken.
    batch: usize,
    tries: BTreeMap<u64, u32>,
    absent: Option<Absence>,
    /// A report's turn, after events of the same severity had theirs.
    turn: bool,
    refused: (u64, String),
    refused_told: Option<Instant>,
    status_sent: Option<Instant>,
}

/// What there was to do.
enum Did {
    Something,
    Nothing,
}

impl Worker {
    pub(super) fn new(tools: Tools, links: Links) -> Worker {
        let batch = tools.batch;
        Worker {
            tools,
            links,
            at: 0,
            work: None,
            gauge: Gauge::default(),
            batch,
            tries: BTreeMap::new(),
            absent: None,
            turn: false,
            refused: (0, String::new()),
            refused_told: None,
            status_sent: None,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut standing = self.tools.spool.standing();
        let mut status = self.tools.status.clone();
        loop {
            // What comes from here on wakes us.
            standing.borrow_and_update();
            self.tell_refusals();
            let Some((at, peer)) = self.links.first().await else {
                self.absent();
                let again = self.links.next_try(None).unwrap_or_else(|| Instant::now() + LOOK);
                sleep_until(self.absence_due().map_or(again, |it| it.min(again))).await;
                continue;
            };
            if at != self.at {
                tracing::info!(url = self.links.url(at), "sending goes this way now");
                self.at = at;
                // Another controller may have other artifacts.
                self.work = None;
            }
            let news = status.has_changed().unwrap_or(false);
            status.borrow_and_update();
            let done = match self.push_status(&peer, news).await {
                Ok(true) => Ok(Did::Something),
                Ok(false) => self.step(&peer).await,
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(Did::Something) => self.works().await,
                Ok(Did::Nothing) => {
                    self.works().await;
                    let mut until = Instant::now() + LOOK;
                    // An endpoint before this one may answer again.
                    until = until.min(self.links.next_try(Some(at)).unwrap_or(until));
                    if let Some(sent) = self.status_sent {
                        until = until.min(sent + self.tools.status_every);
                    }
                    tokio::select! {
                        // A spool or a view that has ended changes no more.
                        Ok(()) = standing.changed() => {}
                        Ok(()) = status.changed() => status.mark_changed(),
                        () = sleep_until(until) => {}
                    }
                }
                Err(Trouble::Disk(why)) => {
                    // The spool's own thread has told of it.
                    tracing::debug!("nothing is sent just now: {why}");
                    tokio::time::sleep(HITCH.1).await;
                }
                Err(trouble) => {
                    self.gauge.failed();
                    self.work = None;
                    self.links.failed(at, &trouble);
                }
            }
        }
    }

    /// Makes one call of what comes first.
    async fn step(&mut self, peer: &Peer) -> Result<Did, Trouble> {
        let most = usize::try_from(peer.limits.batch_entries).unwrap_or(usize::MAX).min(self.batch);
        let bytes = BATCH_BYTES.min(peer.limits.body_bytes / 2);
        let next = self.tools.spool.next(most, bytes).await.map_err(Trouble::Disk)?;
        let report_first = next.events.is_empty() || self.turn;
        match &next.report {
            Some(_) if report_first => {
                self.turn = false;
                self.report(peer, &next).await
            }
            _ if !next.events.is_empty() => {
                // The report's turn comes only where it is of the severity that comes first.
                self.turn = next.report.is_some();
                self.events(peer, next).await
            }
            _ => Ok(Did::Nothing),
        }
    }

    async fn events(&mut self, peer: &Peer, next: Next) -> Result<Did, Trouble> {
        let seqs: Vec<u64> = next.events.iter().map(|(seq, _)| *seq).collect();
        let events: Vec<(u64, Event)> =
            next.events.into_iter().map(|(seq, it)| (seq, self.tools.allowed.event(it))).collect();
        let sent = if peer.agreement.protocol >= 2 {
            let entry = |(seq, event)| Entry { seq, body: EntryBody::Event { event } };
            peer.entries(events.into_iter().map(entry).collect(), next.counters).await
        } else {
            let events = events.into_iter().map(|(_, it)| it).collect();
            peer.events(events).await.map(|_| vec![Receipt::Stored; seqs.len()])
        };
        match sent {
            Ok(receipts) => {
                self.batch = self.batch.saturating_mul(2).min(self.tools.batch);
                self.settle(seqs.into_iter().zip(receipts).collect()).await?;
                Ok(Did::Something)
            }
            Err(trouble) => self.not_taken(&seqs, trouble).await,
        }
    }

    async fn report(&mut self, peer: &Peer, next: &Next) -> Result<Did, Trouble> {
        let Some(it) = &next.report else { return Ok(Did::Nothing) };
        let mut work = match self.work.take().filter(|work| work.seq == it.seq) {
            Some(work) => work,
            None => match Work::begin(&self.tools.reports, it, &self.tools.allowed, peer).await {
                Ok(work) => work,
                Err(trouble) => return self.not_taken(&[it.seq], trouble).await,
            },
        };
        let seq = work.seq;
        match work.step(peer, next.counters, &mut self.gauge).await {
            Ok(Stepped::On) => {
                self.work = Some(work);
                Ok(Did::Something)
            }
            Ok(Stepped::Done(receipt)) => {
                self.settle(vec![(seq, receipt)]).await?;
                Ok(Did::Something)
            }
            Err(trouble) => self.not_taken(&[seq], trouble).await,
        }
    }

    /// Writes down what the controller said. When our disk refuses, the entries are not sent again before
    /// it takes it, for what was said would be said again.
    async fn settle(&mut self, receipts: Vec<(u64, Receipt)>) -> Result<(), Trouble> {
        let mut fates = Vec::new();
        for (seq, receipt) in receipts {
            match receipt {
                Receipt::Stored | Receipt::Duplicate => fates.push((seq, Fate::Stored)),
                Receipt::Refused { why } => {
                    let why = quoted(&why);
                    tracing::warn!(seq, "the controller refused an entry: {why}");
                    self.refused = (self.refused.0.saturating_add(1), why);
                    fates.push((seq, Fate::Refused));
                }
                Receipt::Missing { .. } => {
                    let why = "it misses artifacts of an event, which has none".to_owned();
                    self.tried(seq, why).await;
                }
            }
        }
        self.tries.retain(|seq, _| fates.iter().all(|(it, _)| it != seq));
        let mut pause = Duration::from_millis(200);
        while let Err(why) = self.tools.spool.end(fates.clone()).await {
            tracing::warn!("what the controller has cannot be written down: {why}");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(30));
        }
        Ok(())
    }

    /// A call did not go through: whose fault it is decides what comes next.
    async fn not_taken(&mut self, seqs: &[u64], trouble: Trouble) -> Result<Did, Trouble> {
        let why = match &trouble {
            // The entries have nothing to do with it.
            Trouble::Link(_) => return Err(trouble),
            Trouble::Busy { why, .. } | Trouble::Rejected(why) | Trouble::Disk(why) => why.clone(),
        };
        match seqs {
            [seq] => self.tried(*seq, why).await,
            // Which of them it is shows when there are fewer.
            _ => self.batch = (self.batch.min(seqs.len()) / 2).max(1),
        }
        match trouble {
            Trouble::Busy { .. } => Err(trouble),
            // A controller that rejects is there: the next entry may be to its liking, in a moment.
            _ => {
                tokio::time::sleep(HITCH.0).await;
                Ok(Did::Something)
            }
        }
    }

    async fn tried(&mut self, seq: u64, why: String) {
        let tries = self.tries.entry(seq).or_default();
        *tries = tries.saturating_add(1);
        if *tries < TRIES {
            return;
        }
        self.tries.remove(&seq);
        tracing::warn!(seq, "an entry is set aside for an hour: {why}");
        if let Err(error) = self.tools.spool.aside(seq, why).await {
            tracing::warn!("that cannot be written down: {error}");
        }
    }

    /// Tells how the guests are, where the peer wants to know and there is something to tell.
    async fn push_status(&mut self, peer: &Peer, news: bool) -> Result<bool, Trouble> {
        if !peer.agreement.can(GUEST_STATUS) {
            return Ok(false);
        }
        let due = self.status_sent.is_none_or(|it| it.elapsed() >= self.tools.status_every);
        let Some(push) = self.tools.status.borrow().clone().filter(|_| news || due) else { return Ok(false) };
        self.status_sent = Some(Instant::now());
        match peer.status(&push).await {
            Ok(()) => Ok(true),
            Err(Trouble::Rejected(why)) => {
                tracing::warn!("the controller does not take the state of the guests: {why}");
                Ok(false)
            }
            Err(other) => {
                self.status_sent = None;
                Err(other)
            }
        }
    }

    async fn works(&mut self) {
        self.links.works(self.at);
        let Some(absence) = self.absent.take() else { return };
        // What was set aside while the controller was in trouble may have been the controller's trouble.
        self.tools.spool.again();
        if absence.told {
            let url = self.links.url(self.at);
            let text = format!("the controller {url} answers after {} s", absence.since.elapsed().as_secs());
            tracing::info!("{text}");
            self.tools.events.emit(Severity::Info, None, EventKind::Note { text });
        }
    }

    fn absence_due(&self) -> Option<Instant> {
        self.absent.as_ref().filter(|it| !it.told).map(|it| it.since + self.tools.absence)
    }

    /// Nothing works just now: that is told once, when it lasts.
    fn absent(&mut self) {
        let absence = self.absent.get_or_insert_with(|| Absence { since: Instant::now(), told: false });
        if absence.told || absence.since.elapsed() < self.tools.absence {
            return;
        }
        absence.told = true;
        let text = format!("no controller takes anything, events and reports wait: {}", self.links.whys());
        tracing::warn!("{text}");
        self.tools.events.emit(Severity::Warn, None, EventKind::Note { text });
    }

    fn tell_refusals(&mut self) {
        let due = self.refused_told.is_none_or(|it| it.elapsed() >= TELL);
        if self.refused.0 == 0 || !due {
            return;
        }
        let (count, why) = std::mem::take(&mut self.refused);
        self.refused_told = Some(Instant::now());
        let text = format!("the controller refused {count} entries, the last because {why:?}");
        self.tools.events.emit(Severity::Warn, None, EventKind::Note { text });
    }
}
