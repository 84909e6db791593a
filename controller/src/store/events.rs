//! Events, each once: by host and number.

use futures_util::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;
use vmward_model::exchange::{HostId, Receipt};
use vmward_model::{Event, GuestId};

use super::row::{Columns, micros, severity_rank, text};
use super::sqlite::{Db, Row, Tx};
use super::view::{EventFilter, EventRow, MAX_ROWS, Page};
use super::{Store, StoreError};

/// How far around a moment events of a guest belong to it.
const AROUND: SignedDuration = SignedDuration::from_mins(10);

/// A page ends when it has so many bytes, even where it has few rows: a number in an event's data takes
/// sixteen times its text in memory.
const PAGE_BYTES: usize = 256 << 10;

const SELECT: &str = "SELECT events.host, events.event, events.at, events.seq,
    COALESCE(hosts.name, '') AS host_name FROM events LEFT JOIN hosts ON hosts.id = events.host";

impl Store {
    /// Events, newest first.
    ///
    /// # Errors
    /// When `before` is none of ours, or the database says no.
    pub async fn events(&self, filter: &EventFilter) -> Result<Page<EventRow>, StoreError> {
        let limit = filter.limit.clamp(1, MAX_ROWS);
        let mut query = QueryBuilder::<Db>::new(SELECT);
        query.push(" WHERE 1 = 1");
        if let Some(guest) = filter.guest {
            query.push(" AND events.guest = ").push_bind(guest.to_string());
        }
        if let Some(host) = filter.host {
            query.push(" AND events.host = ").push_bind(host.to_string());
        }
        if let Some(severity) = filter.severity {
            query.push(" AND events.severity >= ").push_bind(severity_rank(severity));
        }
        if let Some(before) = &filter.before {
            let (at, host, seq) = Cursor::read(before)?;
            query.push(" AND (events.at, events.host, events.seq) < (").push_bind(at);
            query.push(", ").push_bind(host.to_string()).push(", ").push_bind(seq).push(")");
        }
        query.push(" ORDER BY events.at DESC, events.host DESC, events.seq DESC LIMIT ");
        query.push_bind(i64::from(limit) + 1);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0usize, None);
        let mut found = query.build().fetch(&self.readers);
        while let Some(row) = found.try_next().await? {
            if rows.len() >= limit || bytes > PAGE_BYTES {
                return Ok(Page { rows, next: last });
            }
            bytes = bytes.saturating_add(row.try_get::<&str, _>("event")?.len());
            rows.push(event_row(&row)?);
            last = Some(Cursor::of(&row)?);
        }
        Ok(Page { rows, next: None })
    }

    /// Events of a guest from ten minutes before to ten minutes after a moment, oldest first; at
    /// most [`MAX_ROWS`] before it and as many after it, those nearest to it.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn events_around(&self, guest: GuestId, at: Timestamp) -> Result<Vec<EventRow>, StoreError> {
        let from = at.checked_sub(AROUND).unwrap_or(Timestamp::MIN);
        let to = at.checked_add(AROUND).unwrap_or(Timestamp::MAX);
        let mut all = Vec::new();
        for (low, high, order) in
            [(micros(from), micros(at), "DESC"), (micros(at).saturating_add(1), micros(to), "ASC")]
        {
            let mut query = QueryBuilder::<Db>::new(SELECT);
            query.push(" WHERE events.guest = ").push_bind(guest.to_string());
            query.push(" AND events.at >= ").push_bind(low).push(" AND events.at <= ").push_bind(high);
            query.push(format_args!(" ORDER BY events.at {order}, events.host {order}, events.seq {order}"));
            query.push(" LIMIT ").push_bind(i64::from(MAX_ROWS));
            let (mut part, mut bytes) = (Vec::new(), 0usize);
            let mut found = query.build().fetch(&self.readers);
            while let Some(row) = found.try_next().await? {
                bytes = bytes.saturating_add(row.try_get::<&str, _>("event")?.len());
                part.push(event_row(&row)?);
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            drop(found);
            if order == "DESC" {
                part.reverse();
            }
            all.append(&mut part);
        }
        Ok(all)
    }
}

/// Keeps an event. One of the same number and moment is the same event; one of another moment is not, and
/// to call it stored would lose it: two agents have the same identity, or one has lost its numbers.
pub(super) async fn put(tx: &mut Tx, host: HostId, event: &Event) -> Result<Receipt, StoreError> {
    let seq = i64::try_from(event.seq)
        .map_err(|_| StoreError::Asked("an event's number is too large".to_owned()))?;
    let done = sqlx::query(
        "INSERT INTO events (host, seq, at, severity, guest, event) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (host, seq) DO NOTHING",
    )
    .bind(host.to_string())
    .bind(seq)
    .bind(micros(event.at.utc))
    .bind(severity_rank(event.severity))
    .bind(event.guest.map(|it| it.to_string()))
    .bind(text(event)?)
    .execute(tx.connection()?)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(Receipt::Stored);
    }
    let there = sqlx::query("SELECT at FROM events WHERE host = $1 AND seq = $2")
        .bind(host.to_string())
        .bind(seq)
        .fetch_one(tx.connection()?)
        .await?;
    if there.number("at")? == micros(event.at.utc) {
        return Ok(Receipt::Duplicate);
    }
    let why = format!(
        "another event {seq} of this host is here: two agents have the same id (the file `host` in the state \
         folder, copied with a disk?), or the agent's events were removed"
    );
    Ok(Receipt::Refused { why })
}

fn event_row(it: &Row) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        host: HostId(it.uuid("host")?),
        host_name: it.string("host_name")?,
        event: it.json("event")?,
    })
}

/// Where a page of events ends: `MICROSECONDS_HOST_NUMBER`.
struct Cursor;

impl Cursor {
    fn of(row: &Row) -> Result<String, StoreError> {
        Ok(format!("{}_{}_{}", row.number("at")?, row.uuid("host")?, row.number("seq")?))
    }

    fn read(text: &str) -> Result<(i64, Uuid, i64), StoreError> {
        let wrong = || StoreError::Asked("before: not what `next` said".to_owned());
        let mut parts = text.splitn(3, '_');
        let mut part = || parts.next().ok_or_else(wrong);
        let at = part()?.parse().map_err(|_| wrong())?;
        let host = part()?.parse().map_err(|_| wrong())?;
        let seq = part()?.parse().map_err(|_| wrong())?;
        Ok((at, host, seq))
    }
}
