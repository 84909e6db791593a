//! The database: what agents told, and what is shown of it.
//!
//! Whatever a writing function acknowledges is synced. One connection writes, several read.

mod artifacts;
mod entries;
mod events;
mod guests;
mod hosts;
mod incident;
mod incidents;
mod reports;
mod row;
pub mod sqlite;
pub mod tokens;
pub mod view;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sqlx::Row as _;

pub use entries::{Incoming, IncomingReport, Taken};

/// Name of the database in the data folder.
pub const FILE: &str = "controller.db";

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database found no room on its disk.
    #[error("no room left for the database")]
    Full,
    /// The database said no.
    #[error("the database: {0}")]
    Database(sqlx::Error),
    /// The database is of another program, or of a newer one.
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What is in the database cannot be read.
    #[error("the database holds what cannot be read: {0}")]
    Broken(String),
    /// Nothing goes by this name.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// By which name.
        name: String,
    },
    /// The asker said something that makes no sense.
    #[error("{0}")]
    Asked(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        if sqlite::is_full(&error) { StoreError::Full } else { StoreError::Database(error) }
    }
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Hosts.
    pub hosts: i64,
    /// Guests.
    pub guests: i64,
    /// Incidents.
    pub incidents: i64,
    /// Incidents whose report is here.
    pub reports: i64,
    /// Events.
    pub events: i64,
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: sqlite::Pool,
    readers: sqlite::Pool,
    file: PathBuf,
}

impl Store {
    /// Opens the database of a data folder, makes it where it is not there, and brings it up to date.
    ///
    /// # Errors
    /// When it cannot be opened, or a newer program has changed it.
    pub async fn open(folder: &Path) -> Result<Store, StoreError> {
        let file = folder.join(FILE);
        let (writer, readers) = sqlite::open(&file).await?;
        Ok(Store { writer, readers, file })
    }

    /// Writes a copy of it to a file that is not there yet, while it is in use.
    ///
    /// # Errors
    /// When it cannot be read, or the file cannot be written.
    pub async fn copy(&self, to: &Path) -> Result<(), StoreError> {
        sqlite::copy(&self.file, to).await
    }

    /// How much it holds.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM hosts), (SELECT COUNT(DISTINCT id) FROM guests),
                    (SELECT COUNT(*) FROM incidents), (SELECT COUNT(*) FROM reports),
                    (SELECT COUNT(*) FROM events)",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Totals {
            hosts: row.try_get(0)?,
            guests: row.try_get(1)?,
            incidents: row.try_get(2)?,
            reports: row.try_get(3)?,
            events: row.try_get(4)?,
        })
    }

    /// Whether it can be written: takes the lock and gives it back.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn ready(&self) -> Result<(), StoreError> {
        sqlite::begin(&self.writer).await?.rollback().await
    }

    /// Closes it in an orderly way.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
