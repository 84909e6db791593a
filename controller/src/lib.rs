//! The controller: takes what agents send, keeps it, and shows it.
//!
//! It never talks to a guest, nor dials an agent. Whatever is acknowledged is on disk.

pub mod api;
pub mod artifacts;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod config;
pub mod extract;
pub mod import;
pub mod ingest;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod router;
pub mod run;
pub mod store;
pub mod tls;
pub mod token;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use tokio::sync::{Semaphore, watch};

use problem::Problem;

/// Program and version, as they are told to peers.
pub const SOFTWARE: &str = concat!("vmward-controller ", env!("CARGO_PKG_VERSION"));

/// What every handler has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The database.
    pub store: store::Store,
    /// The artifacts.
    pub artifacts: artifacts::Artifacts,
    /// Where changes are told.
    pub live: live::Live,
    /// What the operator set.
    pub config: Arc<config::Config>,
    /// What is counted.
    pub metrics: Arc<metrics::Metrics>,
    /// How many requests each peer has left.
    pub buckets: Arc<limits::Buckets>,
    /// Places for requests that read and are worked on at the same time.
    pub places: Arc<Semaphore>,
    /// The same for those that send, which may take long: a piece over a thin link.
    pub senders: Arc<Semaphore>,
    /// Places for readers of the live stream.
    pub live_places: Arc<Semaphore>,
    /// Room for JSON bodies in memory, in KiB.
    pub bodies: Arc<Semaphore>,
    /// Room for pieces of artifacts in memory, in KiB.
    pub pieces: Arc<Semaphore>,
    /// The right to run the engine.
    pub judging: Arc<Semaphore>,
    /// Turns true when the controller is to stop.
    pub stop: Arc<watch::Sender<bool>>,
}

impl AppState {
    /// Opens the data folder and brings files and database into agreement. One program at a time:
    /// the caller holds the folder's lock.
    ///
    /// # Errors
    /// When folder or database cannot be opened.
    pub async fn open(
        config: config::Config,
    ) -> Result<(AppState, artifacts::Swept), artifacts::ArtifactError> {
        let limits = config.limits;
        let store = store::Store::open(&config.data).await?;
        let (artifacts, swept) =
            artifacts::Artifacts::open(&config.data, store.clone(), limits.bounds()).await?;
        let places = |count: u32| Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(usize::MAX)));
        let kib = |bytes: u64| places(u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX));
        let state = AppState {
            store,
            artifacts,
            live: live::Live::default(),
            metrics: Arc::default(),
            buckets: Arc::new(limits::Buckets::new(limits.requests_per_second, limits.requests_burst)),
            places: places(limits.concurrent_requests),
            senders: places(limits.concurrent_requests.saturating_mul(4)),
            live_places: places(limits.live_readers),
            // One of the largest at a time, and a few small ones beside it: parsed, a body may take
            // sixteen times its bytes.
            bodies: kib(limits.body_bytes.saturating_add(limits.body_bytes / 4)),
            pieces: kib(limits.chunk_bytes.saturating_mul(8)),
            judging: places(1),
            stop: Arc::new(watch::Sender::new(false)),
            config: Arc::new(config),
        };
        Ok((state, swept))
    }

    /// Takes requests from a peer's bucket.
    ///
    /// # Errors
    /// Status 429 with how long to wait.
    pub fn spend(&self, peer: &limits::Peer, cost: u32) -> Result<(), Problem> {
        self.buckets.take(peer, cost, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs().saturating_add(1);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests").after(seconds)
        })
    }
}
