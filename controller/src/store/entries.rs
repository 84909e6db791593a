//! Takes entries of a host's spool: all that come together are one transaction.

use std::collections::BTreeSet;

use vmward_findings::Conclusion;
use vmward_model::exchange::{HostId, Receipt, SpoolCounters};
use vmward_model::{Digest, Event, Manifest};

use super::{Store, StoreError, events, guests, hosts, incidents, reports, sqlite};
use crate::live::Change;

/// One entry that was looked at and makes sense.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// An event.
    Event(Box<Event>),
    /// A report.
    Report(Box<IncomingReport>),
    /// One that does not make sense, and why.
    Refused(String),
}

/// A report and what the controller makes of it.
#[derive(Clone, Debug)]
pub struct IncomingReport {
    /// Its manifest.
    pub manifest: Manifest,
    /// Artifacts that stay on the host.
    pub withheld: BTreeSet<Digest>,
    /// What the engine says.
    pub conclusion: Option<Conclusion>,
    /// Why it says nothing; empty otherwise.
    pub not_concluded: String,
    /// The deciding finding in a sentence.
    pub summary: String,
}

/// What became of entries.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// One for each entry.
    pub receipts: Vec<Receipt>,
    /// What readers will want to know.
    pub changes: Vec<Change>,
}

impl Store {
    /// Keeps entries of a host. Durable when this returns.
    ///
    /// # Errors
    /// When the database says no; then none of them is kept.
    pub async fn take(
        &self,
        host: HostId,
        host_name: Option<&str>,
        counters: Option<&SpoolCounters>,
        entries: &[Incoming],
    ) -> Result<Taken, StoreError> {
        let mut tx = sqlite::begin(&self.writer).await?;
        hosts::seen(&mut tx, host, host_name).await?;
        let mut taken = Taken::default();
        let mut changed = BTreeSet::new();
        let (mut stored, mut told) = (0i64, 0u64);
        for entry in entries {
            let receipt = match entry {
                Incoming::Event(event) => {
                    let receipt = events::put(&mut tx, host, event).await?;
                    if receipt == Receipt::Stored {
                        told += 1;
                        guests::heard(&mut tx, host, event).await?;
                        if let Some(incident) = incidents::heard(&mut tx, host, event).await? {
                            changed.insert((incident, event.guest));
                        }
                    }
                    receipt
                }
                Incoming::Report(report) => {
                    let receipt = reports::put(&mut tx, host, report).await?;
                    if receipt == Receipt::Stored {
                        let incident = &report.manifest.incident;
                        changed.insert((incident.id, Some(incident.guest)));
                    }
                    receipt
                }
                Incoming::Refused(why) => Receipt::Refused { why: why.clone() },
            };
            stored += i64::from(receipt == Receipt::Stored);
            taken.receipts.push(receipt);
        }
        hosts::counted(&mut tx, host, stored, counters).await?;
        tx.commit().await?;
        taken
            .changes
            .extend(changed.into_iter().map(|(incident, guest)| Change::Incident { incident, guest }));
        if told > 0 {
            taken.changes.push(Change::Event { host, count: told });
        }
        Ok(taken)
    }
}
