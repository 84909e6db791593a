//! The controller: takes what agents send, keeps it, and shows it.
//!
//! It never talks to a guest, nor dials an agent. Whatever is acknowledged is on disk.

pub mod api;
pub mod artifacts;
pub mod config;
pub mod ingest;
pub mod live;
pub mod page;
pub mod problem;
pub mod router;
pub mod store;

use std::sync::Arc;

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
}
