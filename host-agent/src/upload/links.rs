//! The endpoints in their order: the first that answers is used, and those before it are tried again at
//! their pace, so that the way back is found by itself.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::pace::Pace;
use super::peer::{Peer, Speaker};
use super::trouble::Trouble;
use crate::config::ControllerEntry;

/// A peer is asked anew what it can do so often: it may have been replaced.
const ANEW: Duration = Duration::from_secs(600);

/// While an endpoint is tried beside the work, what came of it is looked for so often.
const PROBED: Duration = Duration::from_millis(200);

/// One endpoint.
#[derive(Debug)]
struct Link {
    entry: ControllerEntry,
    pace: Pace,
    peer: Option<Peer>,
    why: Option<String>,
}

impl Link {
    /// The peer, where it was met not long ago.
    fn good(&self) -> Option<&Peer> {
        self.peer.as_ref().filter(|it| it.met.elapsed() < ANEW)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Links {
    all: Vec<Link>,
    speaker: Speaker,
    bucket: Bucket,
    /// One that is tried while a later one is used: nobody waits for it.
    probe: Option<(usize, JoinHandle<Result<Peer, Trouble>>)>,
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.probe {
            task.abort();
        }
    }
}

impl Links {
    pub(super) fn new(
        entries: &[ControllerEntry],
        speaker: Speaker,
        bucket: Bucket,
        longest: Duration,
    ) -> Links {
        let link = |it: &ControllerEntry| Link {
            entry: it.clone(),
            pace: Pace::new(longest),
            peer: None,
            why: None,
        };
        Links { all: entries.iter().map(link).collect(), speaker, bucket, probe: None }
    }

    /// The first that answers, with its place. Those before one that works are tried beside it, when they
    /// are due. None when all have to be left alone for now.
    pub(super) async fn first(&mut self) -> Option<(usize, Peer)> {
        self.probed().await;
        for at in 0..self.all.len() {
            let later = self.all.iter().skip(at.saturating_add(1)).any(|it| it.good().is_some());
            let Some(link) = self.all.get(at) else { break };
            if let Some(peer) = link.good() {
                return Some((at, peer.clone()));
            }
            if !link.pace.is_due() {
                continue;
            }
            let (entry, speaker, bucket) = (link.entry.clone(), self.speaker.clone(), self.bucket.clone());
            if later {
                if self.probe.is_none() {
                    let meet = async move { Peer::meet(&entry, &speaker, &bucket).await };
                    self.probe = Some((at, tokio::spawn(meet)));
                }
                continue;
            }
            let met = Peer::meet(&entry, &speaker, &bucket).await;
            if let Some(peer) = self.met(at, met) {
                return Some((at, peer));
            }
        }
        None
    }

    /// Takes what a try beside the work came to.
    async fn probed(&mut self) {
        let Some((at, task)) = self.probe.take_if(|(_, task)| task.is_finished()) else { return };
        if let Ok(met) = task.await {
            self.met(at, met);
        }
    }

    fn met(&mut self, at: usize, met: Result<Peer, Trouble>) -> Option<Peer> {
        match met {
            Ok(peer) => {
                let link = self.all.get_mut(at)?;
                tracing::debug!(url = link.entry.url, peer = peer.software, "a controller answers");
                link.peer = Some(peer.clone());
                Some(peer)
            }
            Err(trouble) => {
                self.failed(at, &trouble);
                None
            }
        }
    }

    /// This one does not work just now.
    pub(super) fn failed(&mut self, at: usize, trouble: &Trouble) {
        let Some(link) = self.all.get_mut(at) else { return };
        tracing::debug!(url = link.entry.url, "{trouble}");
        link.peer = None;
        link.why = Some(trouble.to_string());
        link.pace.failed(match trouble {
            Trouble::Busy { after, .. } => *after,
            _ => None,
        });
    }

    /// This one took something.
    pub(super) fn works(&mut self, at: usize) {
        if let Some(link) = self.all.get_mut(at) {
            link.pace.works();
            link.why = None;
        }
    }

    /// When to look again at those before `upto`; at all when absent.
    pub(super) fn next_try(&self, upto: Option<usize>) -> Option<Instant> {
        if self.probe.is_some() {
            return Some(Instant::now() + PROBED);
        }
        self.all.iter().take(upto.unwrap_or(usize::MAX)).map(|it| it.pace.again()).min()
    }

    /// What the matter is with each, for people.
    pub(super) fn whys(&self) -> String {
        let one = |it: &Link| Some(format!("{}: {}", it.entry.url, it.why.as_ref()?));
        self.all.iter().filter_map(one).collect::<Vec<_>>().join("; ")
    }

    /// How an endpoint is called.
    pub(super) fn url(&self, at: usize) -> &str {
        self.all.get(at).map_or("", |it| it.entry.url.as_str())
    }
}
