//! Catches up with the sources: events above the spool's number, bundles that it does not know.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use vmward_model::Event;

use super::files::Files;
use super::ledger::Source;
use super::record::{Body, severity_of};
use super::store::{New, Spool, SpoolError};
use crate::agent::events::read::Follower;
use crate::report;

/// At most this many entries are made in one step.
const STEP: usize = 128;

/// The sources could not be caught up with.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot read the events in {path}: {source}", path = path.display())]
    Events { path: PathBuf, source: io::Error },
    #[error("cannot list the reports in {path}: {source}", path = path.display())]
    Reports { path: PathBuf, source: io::Error },
}

/// The sources and how far they were read.
#[derive(Debug)]
pub(super) struct Feed {
    events: PathBuf,
    reports: PathBuf,
    follower: Option<Follower>,
    /// Bundles that cannot be read; they are looked at again after a restart of the agent.
    bad: BTreeSet<String>,
}

impl Feed {
    pub(super) fn new(events: &Path, reports: &Path) -> Feed {
        Feed { events: events.to_owned(), reports: reports.to_owned(), follower: None, bad: BTreeSet::new() }
    }

    /// Makes entries of everything that is new. What was done before an error stays done.
    pub(super) fn catch_up<F: Files>(&mut self, spool: &mut Spool<F>) -> Result<(), FeedError> {
        self.reports(spool)?;
        self.events(spool)
    }

    pub(super) fn reports<F: Files>(&mut self, spool: &mut Spool<F>) -> Result<(), FeedError> {
        let unlisted = |source| FeedError::Reports { path: self.reports.clone(), source };
        let there: BTreeSet<String> = report::folders(&self.reports).map_err(unlisted)?.into_iter().collect();
        spool.only(&there)?;
        self.bad.retain(|it| there.contains(it));
        let known = spool.state().bundles();
        let mut fresh: Vec<String> =
            there.into_iter().filter(|it| !known.contains_key(it) && !self.bad.contains(it)).collect();
        fresh.sort_by_key(|it| report::age(it));
        for names in fresh.chunks(STEP) {
            let mut new = Vec::new();
            for name in names {
                match self.report(name) {
                    Ok(it) => new.push(it),
                    Err(why) => {
                        tracing::error!("the report {name:?} is not sent, it cannot be read: {why}");
                        self.bad.insert(name.clone());
                    }
                }
            }
            if !new.is_empty() {
                spool.add(new)?;
            }
        }
        Ok(())
    }

    fn report(&self, name: &str) -> Result<New, String> {
        let path = self.reports.join(name);
        let bundle = report::open(&path).map_err(|error| error.to_string())?;
        let bytes = report::size(&path).map_err(|error| error.to_string())?;
        Ok(New {
            severity: severity_of(bundle.manifest()),
            source: Source::Report(name.to_owned()),
            body: Body::of_bundle(name, bundle.manifest(), bytes),
            more_bytes: bytes,
        })
    }

    fn events<F: Files>(&mut self, spool: &mut Spool<F>) -> Result<(), FeedError> {
        loop {
            let upto = spool.state().events_upto();
            let follower = self.follower.get_or_insert_with(|| Follower::after(&self.events, upto));
            let read = follower.poll();
            let mut read = match read {
                Ok(read) => read.into_iter().filter(|it| it.seq > upto).peekable(),
                Err(source) => {
                    self.follower = None;
                    return Err(FeedError::Events { path: self.events.clone(), source });
                }
            };
            if read.peek().is_none() {
                return Ok(());
            }
            while read.peek().is_some() {
                let step: Vec<New> = read.by_ref().take(STEP).map(event).collect();
                if let Err(error) = spool.add(step) {
                    // What was read and not kept is read again.
                    self.follower = None;
                    return Err(error.into());
                }
            }
        }
    }
}

fn event(event: Event) -> New {
    New {
        severity: event.severity,
        source: Source::Event(event.seq),
        body: Body::Event { event: Box::new(event) },
        more_bytes: 0,
    }
}
