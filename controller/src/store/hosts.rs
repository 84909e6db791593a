//! Hosts: what their agents say of themselves, and how much of theirs is stored.

use jiff::Timestamp;
use vmward_model::exchange::{AgentHello, HostId, SpoolCounters};

use super::row::{Columns, micros, text};
use super::sqlite::Tx;
use super::view::HostRow;
use super::{Store, StoreError, sqlite};

/// Most hosts that are listed.
const MOST: i64 = 10_000;

impl Store {
    /// Every host, by name.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, name, software, protocols, capabilities, first_seen, last_seen, stored_entries,
                    counters FROM hosts ORDER BY name, id LIMIT $1",
        )
        .bind(MOST)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|it| {
                Ok(HostRow {
                    id: HostId(it.uuid("id")?),
                    name: it.string("name")?,
                    software: it.string("software")?,
                    protocols: it.json("protocols")?,
                    capabilities: it.json("capabilities")?,
                    first_seen: it.moment("first_seen")?,
                    last_seen: it.moment("last_seen")?,
                    stored_entries: u64::try_from(it.number("stored_entries")?).unwrap_or(0),
                    counters: it.json_or("counters")?,
                })
            })
            .collect()
    }

    /// Keeps what an agent said of itself.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn hello(&self, hello: &AgentHello) -> Result<(), StoreError> {
        let mut tx = sqlite::begin(&self.writer).await?;
        seen(&mut tx, hello.host, Some(&hello.host_name)).await?;
        sqlx::query("UPDATE hosts SET software = $1, protocols = $2, capabilities = $3 WHERE id = $4")
            .bind(&hello.software)
            .bind(text(&hello.protocols)?)
            .bind(text(&hello.capabilities)?)
            .bind(hello.host.to_string())
            .execute(tx.connection()?)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes known that a host was heard of. For imports, where no agent said hello.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn host_seen(&self, host: HostId, name: &str) -> Result<(), StoreError> {
        let mut tx = sqlite::begin(&self.writer).await?;
        seen(&mut tx, host, Some(name)).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A host was heard of just now; its name is kept where it is told.
pub(super) async fn seen(tx: &mut Tx, host: HostId, name: Option<&str>) -> Result<(), StoreError> {
    let now = micros(Timestamp::now());
    sqlx::query(
        "INSERT INTO hosts (id, name, software, protocols, capabilities, first_seen, last_seen, stored_entries)
         VALUES ($1, $2, '', '[]', '[]', $3, $3, 0) ON CONFLICT (id) DO UPDATE SET last_seen = $3",
    )
    .bind(host.to_string())
    .bind(name.unwrap_or_default())
    .bind(now)
    .execute(tx.connection()?)
    .await?;
    if let Some(name) = name {
        sqlx::query("UPDATE hosts SET name = $1 WHERE id = $2")
            .bind(name)
            .bind(host.to_string())
            .execute(tx.connection()?)
            .await?;
    }
    Ok(())
}

/// Entries of a host were stored, and its spool stands like this.
pub(super) async fn counted(
    tx: &mut Tx,
    host: HostId,
    stored: i64,
    counters: Option<&SpoolCounters>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE hosts SET stored_entries = stored_entries + $1 WHERE id = $2")
        .bind(stored)
        .bind(host.to_string())
        .execute(tx.connection()?)
        .await?;
    if let Some(counters) = counters {
        sqlx::query("UPDATE hosts SET counters = $1 WHERE id = $2")
            .bind(text(counters)?)
            .bind(host.to_string())
            .execute(tx.connection()?)
            .await?;
    }
    Ok(())
}
