//! Guests: how each stands on each host that told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::QueryBuilder;
use vmward_model::exchange::{GuestStatus, HostId, StatusPush};
use vmward_model::{Event, EventKind, GuestId, GuestState, IncidentId};

use super::row::{Columns, micros, name, text};
use super::sqlite::{Db, Row, Tx};
use super::view::GuestRow;
use super::{Store, StoreError, hosts, sqlite};

/// Most guests that are listed.
const MOST: i64 = 10_000;

impl Store {
    /// Every guest on every host, by name.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn guests(&self) -> Result<Vec<GuestRow>, StoreError> {
        self.guest_rows(None).await
    }

    /// One guest, once for each host that told of it, the latest first; empty where nobody did.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn guest(&self, guest: GuestId) -> Result<Vec<GuestRow>, StoreError> {
        self.guest_rows(Some(guest)).await
    }

    async fn guest_rows(&self, guest: Option<GuestId>) -> Result<Vec<GuestRow>, StoreError> {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT guests.id, guests.host, guests.name, guests.state, guests.present, guests.incarnation,
                    guests.scenarios, guests.last_seen, COALESCE(hosts.name, '') AS host_name,
                    (SELECT MAX(incidents.id) FROM incidents WHERE incidents.guest = guests.id
                     AND incidents.host = guests.host AND incidents.state < 3) AS incident
             FROM guests LEFT JOIN hosts ON hosts.id = guests.host",
        );
        match guest {
            Some(guest) => query
                .push(" WHERE guests.id = ")
                .push_bind(guest.to_string())
                .push(" ORDER BY guests.present DESC, guests.last_seen DESC, guests.host"),
            None => query.push(" ORDER BY guests.name, guests.id, guests.host"),
        };
        query.push(" LIMIT ").push_bind(MOST);
        query.build().fetch_all(&self.readers).await?.iter().map(guest_row).collect()
    }

    /// Takes what a host says of all its guests in place of what it said before; gives the guests
    /// that look different now to somebody who has seen them before.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn guests_status(&self, host: HostId, push: &StatusPush) -> Result<Vec<GuestId>, StoreError> {
        let mut tx = sqlite::begin(&self.writer).await?;
        hosts::seen(&mut tx, host, Some(&push.host_name)).await?;
        let before = looks(&mut tx, host).await?;
        sqlx::query("UPDATE guests SET present = 0 WHERE host = $1")
            .bind(host.to_string())
            .execute(tx.connection()?)
            .await?;
        for guest in &push.guests {
            put(&mut tx, host, guest, push.at.utc).await?;
        }
        let after = looks(&mut tx, host).await?;
        tx.commit().await?;
        Ok(after.iter().filter(|(guest, look)| before.get(guest) != Some(look)).map(|(it, _)| *it).collect())
    }
}

/// What of each guest of a host would have to be shown anew.
async fn looks(tx: &mut Tx, host: HostId) -> Result<BTreeMap<GuestId, String>, StoreError> {
    let rows = sqlx::query("SELECT id, name, state, present, scenarios FROM guests WHERE host = $1")
        .bind(host.to_string())
        .fetch_all(tx.connection()?)
        .await?;
    rows.iter()
        .map(|it| {
            let rest = [it.string("name")?, it.string("state")?, it.string("scenarios")?].join("\n");
            Ok((GuestId(it.uuid("id")?), format!("{}\n{rest}", it.number("present")?)))
        })
        .collect()
}

async fn put(tx: &mut Tx, host: HostId, it: &GuestStatus, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO guests (id, host, name, state, state_at, present, incarnation, scenarios, last_seen)
         VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8)
         ON CONFLICT (id, host) DO UPDATE SET name = $3, state = $4, state_at = $5, present = 1,
             incarnation = $6, scenarios = $7, last_seen = $8",
    )
    .bind(it.guest.to_string())
    .bind(host.to_string())
    .bind(&it.name)
    .bind(name(&it.state)?)
    .bind(micros(at))
    .bind(it.incarnation.as_ref().map(text).transpose()?)
    .bind(text(&it.scenarios)?)
    .bind(micros(Timestamp::now()))
    .execute(tx.connection()?)
    .await?;
    Ok(())
}

/// What an event tells of its guest. An agent that cannot tell how its guests are is known by its
/// events alone; an event older than what is known changes nothing.
pub(super) async fn heard(tx: &mut Tx, host: HostId, event: &Event) -> Result<(), StoreError> {
    let Some(guest) = event.guest else { return Ok(()) };
    let state = match &event.kind {
        EventKind::StateChanged { to, .. } => Some(*to),
        EventKind::GuestGone => Some(GuestState::Gone),
        EventKind::GuestFound { .. } => Some(GuestState::Unknown),
        _ => None,
    };
    let known = event.name.clone().unwrap_or_default();
    sqlx::query(
        "INSERT INTO guests (id, host, name, state, state_at, present, incarnation, scenarios, last_seen)
         VALUES ($1, $2, $3, $4, $5, 1, $6, '[]', $7)
         ON CONFLICT (id, host) DO UPDATE SET last_seen = $7",
    )
    .bind(guest.to_string())
    .bind(host.to_string())
    .bind(known)
    .bind(name(&GuestState::Unknown)?)
    .bind(i64::MIN)
    .bind(event.incarnation.as_ref().map(text).transpose()?)
    .bind(micros(Timestamp::now()))
    .execute(tx.connection()?)
    .await?;
    if let Some(state) = state {
        sqlx::query(
            "UPDATE guests SET state = $1, state_at = $2, present = $3
             WHERE id = $4 AND host = $5 AND state_at < $2",
        )
        .bind(name(&state)?)
        .bind(micros(event.at.utc))
        .bind(i64::from(state != GuestState::Gone))
        .bind(guest.to_string())
        .bind(host.to_string())
        .execute(tx.connection()?)
        .await?;
    }
    Ok(())
}

fn guest_row(it: &Row) -> Result<GuestRow, StoreError> {
    let scenarios: Vec<vmward_model::exchange::ScenarioStatus> = it.json("scenarios")?;
    let last_round = scenarios.iter().filter_map(|it| it.at.map(|at| at.utc)).max();
    let incident: Option<String> = sqlx::Row::try_get(it, "incident")?;
    Ok(GuestRow {
        id: GuestId(it.uuid("id")?),
        name: it.string("name")?,
        host: HostId(it.uuid("host")?),
        host_name: it.string("host_name")?,
        state: it.named_or("state")?.unwrap_or(GuestState::Unknown),
        present: it.number("present")? != 0,
        incarnation: it.json_or("incarnation")?,
        scenarios,
        last_round,
        last_seen: it.moment("last_seen")?,
        open_incident: incident.and_then(|it| it.parse().ok()).map(IncidentId),
    })
}
