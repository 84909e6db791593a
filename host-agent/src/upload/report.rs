//! A report on its way: its artifacts piece by piece, then its manifest. One step is one call, so that
//! what matters more gets in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use vmward_model::exchange::{ARTIFACT_RESUME, Entry, EntryBody, Receipt, ReportCommit, SpoolCounters};
use vmward_model::{Digest, IncidentId};

use super::allowed::Allowed;
use super::peer::Peer;
use super::trouble::Trouble;
use crate::report;
use crate::spool::NextReport;

/// So often may a controller say that artifacts are missing, or not move on within one.
const PATIENCE: u32 = 3;
/// A manifest is read in this time, or the disk hangs.
const READING: Duration = Duration::from_secs(30);
/// A piece begins so small and grows while the link carries it well.
const PIECE: (u64, u64) = (64 << 10, 1 << 20);
/// The link carries a piece well in this time, and badly in the longer one.
const WELL: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(12));

/// How large a piece may be; learnt from how the last ones went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge(u64);

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge(PIECE.0)
    }
}

impl Gauge {
    fn took(&mut self, time: Duration) {
        if time < WELL.0 {
            self.0 = self.0.saturating_mul(2).min(PIECE.1);
        } else if time > WELL.1 {
            self.0 = (self.0 / 2).max(PIECE.0);
        }
    }

    pub(super) fn failed(&mut self) {
        self.0 = PIECE.0;
    }
}

/// One report on its way to one controller.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) seq: u64,
    folder: PathBuf,
    commit: ReportCommit,
    /// Artifacts that may go, with their sizes.
    sizes: BTreeMap<Digest, u64>,
    todo: VecDeque<Digest>,
    /// Where the first of these goes on, once that was asked.
    offset: Option<u64>,
    missing: u32,
    stuck: u32,
}

/// What a step came to.
#[derive(Debug, PartialEq)]
pub(super) enum Stepped {
    /// There is more to do.
    On,
    /// The controller said what becomes of it.
    Done(Receipt),
}

impl Work {
    /// Reads what is to be sent, in a thread that may be lost to a disk that hangs.
    pub(super) async fn begin(
        reports: &Path,
        it: &NextReport,
        allowed: &Allowed,
        peer: &Peer,
    ) -> Result<Work, Trouble> {
        let folder = reports.join(&it.bundle);
        let path = folder.clone();
        let reading =
            tokio::task::spawn_blocking(move || report::open(&path).map(|it| it.manifest().clone()));
        let manifest = match tokio::time::timeout(READING, reading).await {
            Ok(Ok(Ok(manifest))) => manifest,
            Ok(Ok(Err(error))) => return Err(Trouble::Disk(error.to_string())),
            Ok(Err(error)) => return Err(Trouble::Disk(format!("reading {} broke: {error}", it.bundle))),
            Err(_) => return Err(Trouble::Disk(format!("the disk does not give {}", it.bundle))),
        };
        let mut withheld = allowed.withheld(&manifest);
        let mut sizes = BTreeMap::new();
        for artifact in &manifest.artifacts {
            if artifact.size > peer.limits.artifact_bytes {
                // Better the rest of the report than none of it.
                tracing::warn!(
                    "artifact {} of {} stays: {} bytes are more than the controller takes",
                    artifact.kind,
                    it.bundle,
                    artifact.size
                );
                withheld.insert(artifact.sha256.clone());
            } else {
                sizes.insert(artifact.sha256.clone(), artifact.size);
            }
        }
        sizes.retain(|it, _| !withheld.contains(it));
        let commit = ReportCommit { host: peer.host(), manifest, withheld: withheld.into_iter().collect() };
        Ok(Work {
            seq: it.seq,
            folder,
            commit: allowed.report(commit),
            todo: sizes.keys().cloned().collect(),
            sizes,
            offset: None,
            missing: 0,
            stuck: 0,
        })
    }

    /// Makes one call.
    pub(super) async fn step(
        &mut self,
        peer: &Peer,
        counters: SpoolCounters,
        gauge: &mut Gauge,
    ) -> Result<Stepped, Trouble> {
        let Some(digest) = self.todo.front().cloned() else {
            return self.commit(peer, counters).await;
        };
        let size = self.sizes.get(&digest).copied().unwrap_or(0);
        let resumes = peer.agreement.can(ARTIFACT_RESUME);
        let Some(offset) = self.offset else {
            let state = peer.upload_state(&digest).await?;
            if state.stored {
                self.next();
            } else {
                // An offset beyond the end is nonsense: from the start, then.
                let sane = resumes && state.offset <= size;
                self.offset = Some(if sane { state.offset } else { 0 });
            }
            return Ok(Stepped::On);
        };
        let rest = size.saturating_sub(offset);
        let length = if resumes { rest.min(gauge.0).min(peer.limits.chunk_bytes) } else { rest };
        let path = self.folder.join(vmward_bundle::name::artifact(&digest));
        let began = Instant::now();
        let sent = peer.put_piece(&digest, &path, (offset, length, size)).await;
        let state = match sent {
            Ok(state) => state,
            Err(trouble) => {
                // How much of it arrived is the controller's to say.
                self.offset = None;
                return match trouble {
                    Trouble::Rejected(why) => self.not_on(&digest, why),
                    other => Err(other),
                };
            }
        };
        gauge.took(began.elapsed());
        if state.stored {
            self.next();
        } else if resumes && state.offset > offset && state.offset <= size {
            self.offset = Some(state.offset);
            if state.offset == size {
                // All of it is there and still it is not stored: its digest was another.
                self.offset = None;
                return self.not_on(&digest, "all of it was sent and it is not stored".to_owned());
            }
        } else {
            self.offset = None;
            return self.not_on(&digest, format!("it stays at offset {}", state.offset));
        }
        Ok(Stepped::On)
    }

    fn next(&mut self) {
        self.todo.pop_front();
        self.offset = None;
        self.stuck = 0;
    }

    fn not_on(&mut self, digest: &Digest, why: String) -> Result<Stepped, Trouble> {
        self.stuck = self.stuck.saturating_add(1);
        if self.stuck >= PATIENCE {
            self.stuck = 0;
            return Err(Trouble::Rejected(format!("artifact {digest}: {why}")));
        }
        Ok(Stepped::On)
    }

    async fn commit(&mut self, peer: &Peer, counters: SpoolCounters) -> Result<Stepped, Trouble> {
        let receipt = if peer.agreement.protocol >= 2 {
            let body = EntryBody::Report { report: Box::new(self.commit.clone()) };
            let receipts = peer.entries(vec![Entry { seq: self.seq, body }], counters).await?;
            let one = receipts.into_iter().next();
            one.ok_or_else(|| Trouble::Link("no receipt for the report".to_owned()))?
        } else {
            peer.report(self.incident(), &self.commit).await?
        };
        let Receipt::Missing { digests } = receipt else { return Ok(Stepped::Done(receipt)) };
        self.missing = self.missing.saturating_add(1);
        let wanted: BTreeSet<Digest> = digests.into_iter().collect();
        let (have, strange): (BTreeSet<_>, BTreeSet<_>) =
            wanted.into_iter().partition(|it| self.sizes.contains_key(it));
        if self.missing > PATIENCE || have.is_empty() {
            let why = match strange.first() {
                Some(it) => format!("it misses artifact {it}, which it is not to get"),
                None => "it misses artifacts again and again".to_owned(),
            };
            self.missing = 0;
            return Err(Trouble::Rejected(why));
        }
        self.todo = have.into_iter().collect();
        self.offset = None;
        Ok(Stepped::On)
    }

    fn incident(&self) -> IncidentId {
        self.commit.manifest.incident.id
    }
}
