//! The endpoints in their order: the first that answers is used, and those before it are tried again at
//! their pace, so that the way back is found by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::pace::Pace;
use super::peer::{Peer, Speaker};
use super::trouble::Trouble;
use crate::config::ControllerEntry;

/// A peer is asked anew what it can do so often: it may have been replaced.
const ANEW: Duration = Duration::from_secs(600);

/// One endpoint.
#[derive(Debug)]
struct Link {
    entry: ControllerEntry,
    pace: Pace,
    peer: Option<Peer>,
    why: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Links {
    all: Vec<Link>,
    speaker: Speaker,
    bucket: Bucket,
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
        Links { all: entries.iter().map(link).collect(), speaker, bucket }
    }

    /// The first that answers, with its place; the endpoints before it that are due are tried first.
    /// None when all have to be left alone for now.
    pub(super) async fn first(&mut self) -> Option<(usize, Peer)> {
        for at in 0..self.all.len() {
            let Some(link) = self.all.get_mut(at) else { break };
            if let Some(peer) = link.peer.as_ref().filter(|it| it.met.elapsed() < ANEW) {
                return Some((at, peer.clone()));
            }
            if !link.pace.is_due() {
                continue;
            }
            match Peer::meet(&link.entry, &self.speaker, &self.bucket).await {
                Ok(peer) => {
                    tracing::debug!(url = link.entry.url, peer = peer.software, "a controller answers");
                    link.peer = Some(peer.clone());
                    return Some((at, peer));
                }
                Err(trouble) => self.failed(at, &trouble),
            }
        }
        None
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

    /// When the next of those before `upto` is due; of all when absent.
    pub(super) fn next_try(&self, upto: Option<usize>) -> Option<Instant> {
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
