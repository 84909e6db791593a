//! From the store's rows to the lines of pages. Every text is escaped on the way.

use std::collections::BTreeMap;

use vmward_model::exchange::HostId;
use vmward_report_view::page::{EventLine, GuestLine, HostLine, IncidentLine, ScenarioLine};

use crate::store::view::{EventRow, GuestRow, HostRow, IncidentRow};

/// An incident.
pub(super) fn incident(row: &IncidentRow) -> IncidentLine {
    IncidentLine {
        id: row.id,
        guest: row.guest,
        guest_name: (&row.guest_name).into(),
        host_name: (&row.host_name).into(),
        state: row.state,
        severity: row.severity,
        class: row.class,
        other_class: row.controller_class.filter(|_| row.differs),
        summary: (&row.summary).into(),
        opened: row.opened,
        closed: row.closed,
    }
}

/// A guest.
pub(super) fn guest(row: &GuestRow) -> GuestLine {
    let scenarios = row.scenarios.iter().map(|it| ScenarioLine {
        name: (&it.name).into(),
        well: it.well,
        last: it.last.as_deref().unwrap_or_default().into(),
        at: it.at.map(|at| at.utc),
    });
    GuestLine {
        id: row.id,
        name: (&row.name).into(),
        host_name: (&row.host_name).into(),
        state: row.state,
        present: row.present,
        scenarios: scenarios.collect(),
        last_seen: row.last_seen,
        incident: row.open_incident,
    }
}

/// Hosts, each with the number of guests that it watches.
pub(super) fn hosts(rows: &[HostRow], guests: &[GuestRow]) -> Vec<HostLine> {
    let mut watched: BTreeMap<HostId, usize> = BTreeMap::new();
    for it in guests.iter().filter(|it| it.present) {
        *watched.entry(it.host).or_default() += 1;
    }
    let line = |row: &HostRow| HostLine {
        id: row.id,
        name: (&row.name).into(),
        software: (&row.software).into(),
        first_seen: row.first_seen,
        last_seen: row.last_seen,
        stored: row.stored_entries,
        guests: watched.get(&row.id).copied().unwrap_or_default(),
        counters: row.counters,
    };
    rows.iter().map(line).collect()
}

/// An event.
pub(super) fn event(row: &EventRow) -> EventLine {
    EventLine::of(&row.event)
}
