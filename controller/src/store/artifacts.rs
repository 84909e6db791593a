//! Which artifacts are stored. The files themselves are [`crate::artifacts`]'s.

use jiff::Timestamp;
use sqlx::Row as _;
use vmward_model::Digest;

use super::row::{Columns, micros};
use super::sqlite::Tx;
use super::{Store, StoreError};

impl Store {
    /// Size of a stored artifact; `None` where it is not here.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifact_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT size FROM artifacts WHERE sha256 = $1")
            .bind(digest.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|it| size(it.number("size")?)).transpose()
    }

    /// Writes down that an artifact's file is whole and synced.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifact_stored(&self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO artifacts (sha256, size, stored) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING",
        )
        .bind(digest.as_str())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(micros(Timestamp::now()))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Forgets an artifact whose file is gone.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifact_lost(&self, digest: &Digest) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM artifacts WHERE sha256 = $1")
            .bind(digest.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Stored artifacts with their sizes in order of digest: at most `limit` of those after `after`.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifacts_after(&self, after: &str, limit: u32) -> Result<Vec<(Digest, u64)>, StoreError> {
        let rows =
            sqlx::query("SELECT sha256, size FROM artifacts WHERE sha256 > $1 ORDER BY sha256 LIMIT $2")
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(&self.readers)
                .await?;
        rows.iter()
            .map(|it| {
                let digest: Digest = it.string("sha256")?.parse().map_err(broken)?;
                Ok((digest, size(it.number("size")?)?))
            })
            .collect()
    }

    /// How many artifacts and bytes are stored.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn artifact_totals(&self) -> Result<(u64, u64), StoreError> {
        let row = sqlx::query("SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM artifacts")
            .fetch_one(&self.readers)
            .await?;
        Ok((size(row.try_get(0)?)?, size(row.try_get(1)?)?))
    }
}

/// Size of a stored artifact, as a transaction sees it.
pub(super) async fn size_in(tx: &mut Tx, digest: &Digest) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query("SELECT size FROM artifacts WHERE sha256 = $1")
        .bind(digest.as_str())
        .fetch_optional(tx.connection()?)
        .await?;
    row.map(|it| size(it.number("size")?)).transpose()
}

fn size(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(format!("artifacts: {error}"))
}
