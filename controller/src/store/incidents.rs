//! Incidents: kept from the first event on, listed and found.

use sqlx::QueryBuilder;
use vmward_model::exchange::HostId;
use vmward_model::{Event, EventKind, GuestId, IncidentId, IncidentState};

use super::incident::{Standing, SummaryRank};
use super::row::{self, Columns, micros};
use super::sqlite::{Db, Row, Tx};
use super::view::{IncidentFilter, IncidentRow, MAX_ROWS, Page};
use super::{Store, StoreError};

pub(super) const SELECT: &str = "SELECT incidents.id, incidents.host, incidents.guest, incidents.guest_name,
    incidents.state, incidents.severity, incidents.class, incidents.controller_class, incidents.scenario,
    incidents.summary, incidents.summary_rank, incidents.opened, incidents.examined, incidents.closed,
    incidents.has_report, COALESCE(hosts.name, '') AS host_name
    FROM incidents LEFT JOIN hosts ON hosts.id = incidents.host";

impl Store {
    /// Incidents, newest first.
    ///
    /// # Errors
    /// When the database says no.
    pub async fn incidents(&self, filter: &IncidentFilter) -> Result<Page<IncidentRow>, StoreError> {
        let limit = filter.limit.clamp(1, MAX_ROWS);
        let mut query = QueryBuilder::<Db>::new(SELECT);
        query.push(" WHERE 1 = 1");
        if let Some(guest) = filter.guest {
            query.push(" AND incidents.guest = ").push_bind(guest.to_string());
        }
        if let Some(host) = filter.host {
            query.push(" AND incidents.host = ").push_bind(host.to_string());
        }
        if let Some(class) = filter.class {
            query.push(" AND (incidents.class = ").push_bind(class.name());
            query.push(" OR incidents.controller_class = ").push_bind(class.name()).push(")");
        }
        if let Some(state) = filter.state {
            query.push(" AND incidents.state = ").push_bind(row::state_rank(state));
        }
        if filter.unclosed {
            query.push(" AND incidents.state < ").push_bind(row::state_rank(IncidentState::Closed));
        }
        if let Some(severity) = filter.severity {
            query.push(" AND incidents.severity >= ").push_bind(row::severity_rank(severity));
        }
        if let Some(text) = filter.text.as_deref().filter(|it| !it.is_empty()) {
            query.push(" AND LOWER(incidents.guest_name || ' ' || incidents.summary || ' ' || ");
            query.push("COALESCE(incidents.scenario, '') || ' ' || incidents.id) LIKE LOWER(");
            query.push_bind(contains(text)).push(") ESCAPE '!'");
        }
        if let Some(before) = filter.before {
            query.push(" AND incidents.id < ").push_bind(before.to_string());
        }
        query.push(" ORDER BY incidents.id DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let found = query.build().fetch_all(&self.readers).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        let rows = found.iter().take(limit).map(incident_row).collect::<Result<Vec<_>, _>>()?;
        let next = rows.last().filter(|_| more).map(|it| it.id.to_string());
        Ok(Page { rows, next })
    }
}

/// A pattern for LIKE that finds `text` anywhere, whatever it is.
fn contains(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

pub(super) fn incident_row(it: &Row) -> Result<IncidentRow, StoreError> {
    let standing = standing(it)?;
    let differs = matches!((standing.class, standing.controller_class), (Some(a), Some(b)) if a != b);
    Ok(IncidentRow {
        id: standing.id,
        guest: standing.guest,
        guest_name: standing.guest_name,
        host: standing.host,
        host_name: it.string("host_name")?,
        state: standing.state,
        severity: standing.severity,
        class: standing.class,
        controller_class: standing.controller_class,
        differs,
        scenario: standing.scenario,
        summary: standing.summary,
        opened: standing.opened,
        examined: standing.examined,
        closed: standing.closed,
        has_report: standing.has_report,
    })
}

fn standing(it: &Row) -> Result<Standing, StoreError> {
    Ok(Standing {
        id: IncidentId(it.uuid("id")?),
        host: HostId(it.uuid("host")?),
        guest: GuestId(it.uuid("guest")?),
        guest_name: it.string("guest_name")?,
        state: row::state(it.number("state")?),
        severity: row::severity(it.number("severity")?),
        class: it.named_or("class")?,
        controller_class: it.named_or("controller_class")?,
        scenario: sqlx::Row::try_get(it, "scenario")?,
        summary: it.string("summary")?,
        summary_rank: SummaryRank::from_number(it.number("summary_rank")?),
        opened: it.moment("opened")?,
        examined: it.moment_or("examined")?,
        closed: it.moment_or("closed")?,
        has_report: it.number("has_report")? != 0,
    })
}

/// The incident as a host's transaction sees it. What an import brought belongs to a host that was made
/// from its name (a UUID of version 5), since a report does not say which agent wrote it: the agent
/// takes it over.
pub(super) async fn get_for(
    tx: &mut Tx,
    id: IncidentId,
    host: HostId,
) -> Result<Option<Standing>, StoreError> {
    let made = |it: HostId| it.0.get_version_num() == 5;
    let mut known = get(tx, id).await?;
    if let Some(it) = known.as_mut().filter(|it| made(it.host) && !made(host)) {
        it.host = host;
        sqlx::query("UPDATE incidents SET host = $1 WHERE id = $2")
            .bind(host.to_string())
            .bind(id.to_string())
            .execute(tx.connection()?)
            .await?;
    }
    Ok(known)
}

/// The incident as a transaction sees it.
async fn get(tx: &mut Tx, id: IncidentId) -> Result<Option<Standing>, StoreError> {
    let mut query = QueryBuilder::<Db>::new(SELECT);
    query.push(" WHERE incidents.id = ").push_bind(id.to_string());
    query.build().fetch_optional(tx.connection()?).await?.as_ref().map(standing).transpose()
}

/// Keeps an incident as it stands now.
pub(super) async fn put(tx: &mut Tx, it: &Standing) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO incidents (id, host, guest, guest_name, state, severity, class, controller_class, scenario,
             summary, summary_rank, opened, examined, closed, has_report)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (id) DO UPDATE SET guest_name = $4, state = $5, severity = $6, class = $7,
             controller_class = $8, scenario = $9, summary = $10, summary_rank = $11, opened = $12,
             examined = $13, closed = $14, has_report = $15",
    )
    .bind(it.id.to_string())
    .bind(it.host.to_string())
    .bind(it.guest.to_string())
    .bind(&it.guest_name)
    .bind(row::state_rank(it.state))
    .bind(row::severity_rank(it.severity))
    .bind(it.class.map(|it| it.name()))
    .bind(it.controller_class.map(|it| it.name()))
    .bind(it.scenario.as_deref())
    .bind(&it.summary)
    .bind(it.summary_rank as i64)
    .bind(micros(it.opened))
    .bind(it.examined.map(micros))
    .bind(it.closed.map(micros))
    .bind(i64::from(it.has_report))
    .execute(tx.connection()?)
    .await?;
    Ok(())
}

/// What an event tells of its incident; gives which one changed. One that belongs to another host
/// is left alone.
pub(super) async fn heard(
    tx: &mut Tx,
    host: HostId,
    event: &Event,
) -> Result<Option<IncidentId>, StoreError> {
    let EventKind::Incident { id, .. } = &event.kind else { return Ok(None) };
    let known = get_for(tx, *id, host).await?;
    let mut standing = match (known, event.guest) {
        (Some(it), _) if it.host == host => it,
        (None, Some(guest)) => Standing::new(*id, host, guest, event.at.utc),
        _ => return Ok(None),
    };
    standing.hear(event);
    put(tx, &standing).await?;
    Ok(Some(*id))
}
