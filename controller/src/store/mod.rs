//! The database: what agents told, and what is shown of it.

pub mod view;

use jiff::Timestamp;
use vmward_model::exchange::HostId;
use vmward_model::{Digest, GuestId, IncidentId};

use view::{EventFilter, EventRow, GuestRow, HostRow, IncidentDetail, IncidentFilter, IncidentRow, Page};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// Nothing goes by this name.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// By which name.
        name: String,
    },
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Every host, by name.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        Ok(Vec::new())
    }

    /// Every guest on every host, by name.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn guests(&self) -> Result<Vec<GuestRow>, StoreError> {
        Ok(Vec::new())
    }

    /// One guest, once for each host that told of it, the latest first; empty where nobody did.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn guest(&self, guest: GuestId) -> Result<Vec<GuestRow>, StoreError> {
        let _ = guest;
        Ok(Vec::new())
    }

    /// Incidents, newest first.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn incidents(&self, filter: &IncidentFilter) -> Result<Page<IncidentRow>, StoreError> {
        let _ = filter;
        Ok(Page { rows: Vec::new(), next: None })
    }

    /// One incident with all that is known of it.
    ///
    /// # Errors
    /// When there is none, or the database says no.
    pub async fn incident(&self, id: IncidentId) -> Result<IncidentDetail, StoreError> {
        Err(StoreError::NotFound { what: "incident", name: id.to_string() })
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn events(&self, filter: &EventFilter) -> Result<Page<EventRow>, StoreError> {
        let _ = filter;
        Ok(Page { rows: Vec::new(), next: None })
    }

    /// Events of a guest from ten minutes before to ten minutes after a moment, oldest first, at
    /// most [`view::MAX_ROWS`], those nearest to the moment.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn events_around(&self, guest: GuestId, at: Timestamp) -> Result<Vec<EventRow>, StoreError> {
        let _ = (guest, at);
        Ok(Vec::new())
    }

    /// Size of a stored artifact; `None` where it is not here.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifact_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let _ = digest;
        Ok(None)
    }

    /// Makes known that a host was heard of. For imports, where no agent said hello.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn host_seen(&self, host: HostId, name: &str) -> Result<(), StoreError> {
        let _ = (host, name);
        Ok(())
    }
}
