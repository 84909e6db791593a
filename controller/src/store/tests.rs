//! The store as a whole: what is sent again doubles nothing, and what comes in any order ends the same.

use vmward_model::exchange::{GuestStatus, HostId, Receipt, ScenarioStatus, SpoolCounters, StatusPush};
use vmward_model::{Class, EventKind, GuestState, IncidentState, Severity};

use super::view::{EventFilter, IncidentFilter};
use super::{Incoming, IncomingReport, Store, StoreError};
use crate::sample::{at, case, digest, event, guest, host, incident_event, incident_id, note, report};

async fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

fn events(all: Vec<vmward_model::Event>) -> Vec<Incoming> {
    all.into_iter().map(|it| Incoming::Event(Box::new(it))).collect()
}

fn incoming(class: Class, n: u128) -> Incoming {
    let commit = report(incident_id(n), class, &[]);
    Incoming::Report(Box::new(IncomingReport {
        manifest: commit.manifest,
        withheld: commit.withheld.into_iter().collect(),
        conclusion: None,
        not_concluded: "not asked".into(),
        summary: "the guest hangs".into(),
    }))
}

async fn take(store: &Store, host: HostId, entries: &[Incoming]) -> Vec<Receipt> {
    store.take(host, Some("alpha"), None, entries).await.unwrap().receipts
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_there_once() {
    let (_dir, store) = store().await;
    let first = events(vec![note(1), note(2)]);
    assert_eq!(take(&store, host(1), &first).await, [Receipt::Stored, Receipt::Stored]);
    let again = events(vec![note(2), note(3)]);
    assert_eq!(take(&store, host(1), &again).await, [Receipt::Duplicate, Receipt::Stored]);
    assert_eq!(
        take(&store, host(2), &events(vec![note(1)])).await,
        [Receipt::Stored],
        "another host's number"
    );
    let hosts = store.hosts().await.unwrap();
    let mut counts: Vec<u64> = hosts.iter().map(|it| it.stored_entries).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3]);
}

#[tokio::test]
async fn another_event_of_a_number_that_was_used_is_refused_and_not_called_stored() {
    let (_dir, store) = store().await;
    assert_eq!(take(&store, host(1), &events(vec![note(1)])).await, [Receipt::Stored]);
    let mut other = note(1);
    other.at = at(4000);
    let receipts = take(&store, host(1), &events(vec![note(1), other, note(2)])).await;
    let [Receipt::Duplicate, Receipt::Refused { why }, Receipt::Stored] = receipts.as_slice() else {
        panic!("{receipts:?}")
    };
    assert!(why.contains("two agents have the same id"), "{why}");
}

#[tokio::test]
async fn a_report_waits_for_its_artifacts_and_is_there_once() {
    let (_dir, store) = store().await;
    let entry = [incoming(Class::DiskStall, 1)];
    let missing = Receipt::Missing { digests: vec![digest(&case())] };
    assert_eq!(take(&store, host(1), &entry).await, [missing]);
    store.artifact_stored(&digest(&case()), case().len() as u64).await.unwrap();
    assert_eq!(take(&store, host(1), &entry).await, [Receipt::Stored]);
    assert_eq!(take(&store, host(1), &entry).await, [Receipt::Duplicate]);
    let found = store.incident(incident_id(1)).await.unwrap();
    assert_eq!((found.row.class, found.row.state), (Some(Class::DiskStall), IncidentState::Reported));
    assert_eq!(found.manifest.unwrap().artifacts.len(), 1);
    assert_eq!(store.hosts().await.unwrap()[0].stored_entries, 1);
}

#[tokio::test]
async fn an_artifact_of_another_size_or_an_incident_of_another_host_is_refused() {
    let (_dir, store) = store().await;
    store.artifact_stored(&digest(&case()), 1).await.unwrap();
    let receipts = take(&store, host(1), &[incoming(Class::DiskStall, 1)]).await;
    assert!(matches!(&receipts[0], Receipt::Refused { why } if why.contains("has 1 bytes")), "{receipts:?}");
    take(&store, host(2), &events(vec![incident_event(1, incident_id(1), "opened", Severity::Crit)])).await;
    let receipts = take(&store, host(1), &[incoming(Class::DiskStall, 1)]).await;
    assert!(matches!(&receipts[0], Receipt::Refused { why } if why.contains("another host")), "{receipts:?}");
}

#[tokio::test]
async fn an_incident_is_seen_from_its_first_event_on() {
    let (_dir, store) = store().await;
    let opened = incident_event(1, incident_id(1), "opened", Severity::Crit);
    take(&store, host(1), &events(vec![opened])).await;
    let row = store.incident(incident_id(1)).await.unwrap().row;
    assert_eq!((row.state, row.severity, row.has_report), (IncidentState::Open, Severity::Crit, false));
    assert_eq!(store.guests().await.unwrap()[0].open_incident, Some(incident_id(1)));
    let closed = incident_event(9, incident_id(1), "closed", Severity::Info);
    take(&store, host(1), &events(vec![closed])).await;
    let row = store.incident(incident_id(1)).await.unwrap().row;
    assert_eq!((row.state, row.closed), (IncidentState::Closed, Some(at(9).utc)));
    assert_eq!(store.guests().await.unwrap()[0].open_incident, None);
}

#[tokio::test]
async fn a_report_that_comes_after_the_close_does_not_open_the_incident_again() {
    let (_dir, store) = store().await;
    store.artifact_stored(&digest(&case()), case().len() as u64).await.unwrap();
    let closed = incident_event(9, incident_id(1), "closed", Severity::Info);
    take(&store, host(1), &events(vec![closed])).await;
    take(&store, host(1), &[incoming(Class::IrqOffSpin, 1)]).await;
    let row = store.incident(incident_id(1)).await.unwrap().row;
    assert_eq!((row.state, row.class), (IncidentState::Closed, Some(Class::IrqOffSpin)));
    assert_eq!((row.summary.as_str(), row.opened), ("the guest hangs", at(9).utc));
}

#[tokio::test]
async fn incidents_are_found_by_what_narrows_and_turned_over_page_by_page() {
    let (_dir, store) = store().await;
    store.artifact_stored(&digest(&case()), case().len() as u64).await.unwrap();
    for (n, class) in [(1, Class::DiskStall), (2, Class::IrqOffSpin), (3, Class::DiskStall)] {
        take(&store, host(1), &[incoming(class, n)]).await;
    }
    let find = async |filter: IncidentFilter| {
        let page = store.incidents(&filter).await.unwrap();
        (page.rows.iter().map(|it| it.id).collect::<Vec<_>>(), page.next)
    };
    let all = IncidentFilter { limit: 50, ..IncidentFilter::default() };
    assert_eq!(find(all.clone()).await, (vec![incident_id(3), incident_id(2), incident_id(1)], None));
    let stalled = IncidentFilter { class: Some(Class::DiskStall), ..all.clone() };
    assert_eq!(find(stalled).await.0, [incident_id(3), incident_id(1)]);
    let text = |it: &str| IncidentFilter { text: Some(it.into()), ..all.clone() };
    assert_eq!(find(text("WEB-1")).await.0.len(), 3);
    assert_eq!(find(text("web%")).await.0.len(), 0, "a per cent sign is itself");
    assert_eq!(find(text("'; DROP TABLE incidents; --")).await.0.len(), 0);
    let unclosed = IncidentFilter { unclosed: true, ..all.clone() };
    assert_eq!(find(unclosed.clone()).await.0.len(), 3, "reported, and going on");
    take(&store, host(1), &events(vec![incident_event(9, incident_id(2), "closed", Severity::Info)])).await;
    assert_eq!(find(unclosed).await.0, [incident_id(3), incident_id(1)]);
    let others = IncidentFilter { guest: Some(guest(2)), ..all.clone() };
    assert_eq!(find(others).await.0.len(), 0);
    let (first, next) = find(IncidentFilter { limit: 2, ..all.clone() }).await;
    assert_eq!(first, [incident_id(3), incident_id(2)]);
    let before = next.map(|it| vmward_model::IncidentId(it.parse().unwrap()));
    assert_eq!(find(IncidentFilter { limit: 2, before, ..all }).await, (vec![incident_id(1)], None));
}

#[tokio::test]
async fn events_are_turned_over_page_by_page_and_none_is_left_out() {
    let (_dir, store) = store().await;
    for n in [1, 2] {
        take(&store, host(n), &events((1..=7).map(note).collect())).await;
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let filter = EventFilter { before, limit: 3, ..EventFilter::default() };
        let page = store.events(&filter).await.unwrap();
        seen.extend(page.rows.iter().map(|it| (it.event.at.utc, it.host, it.event.seq)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 14);
    assert!(seen.windows(2).all(|it| it[0] > it[1]), "newest first");
    let nonsense = EventFilter { before: Some("1_2_3".into()), limit: 3, ..EventFilter::default() };
    assert!(matches!(store.events(&nonsense).await, Err(StoreError::Asked(_))));
}

#[tokio::test]
async fn events_around_a_moment_are_those_of_the_guest_in_order() {
    let (_dir, store) = store().await;
    let mut far = note(100_000);
    far.guest = Some(guest(1));
    let mut other = note(6);
    other.guest = Some(guest(2));
    take(&store, host(1), &events(vec![note(5), note(4), other, note(7), far])).await;
    let rows = store.events_around(guest(1), at(5).utc).await.unwrap();
    assert_eq!(rows.iter().map(|it| it.event.seq).collect::<Vec<_>>(), [4, 5, 7]);
}

#[tokio::test]
async fn what_a_host_says_of_its_guests_takes_the_place_of_what_it_said_before() {
    let (_dir, store) = store().await;
    let status = |n: u128, state| GuestStatus {
        guest: guest(n),
        name: format!("web-{n}"),
        incarnation: None,
        state,
        scenarios: vec![ScenarioStatus {
            name: "app-label".into(),
            well: Some(true),
            last: Some("pass".into()),
            at: Some(at(50)),
        }],
        incident: None,
    };
    let push = |second, guests| StatusPush { host_name: "alpha".into(), at: at(second), guests };
    let both = push(50, vec![status(1, GuestState::Running), status(2, GuestState::Running)]);
    assert_eq!(store.guests_status(host(1), &both).await.unwrap(), [guest(1), guest(2)]);
    assert!(store.guests_status(host(1), &both).await.unwrap().is_empty(), "nothing changed");
    let one = push(60, vec![status(1, GuestState::Paused)]);
    assert_eq!(store.guests_status(host(1), &one).await.unwrap(), [guest(1), guest(2)]);
    let rows = store.guests().await.unwrap();
    assert_eq!(
        (rows[0].state, rows[0].present, rows[0].last_round),
        (GuestState::Paused, true, Some(at(50).utc))
    );
    assert!(!rows[1].present);
    assert_eq!(rows[0].host_name, "alpha");
    let late = event(
        55,
        Severity::Info,
        EventKind::StateChanged { from: GuestState::Paused, to: GuestState::Running, why: "cont".into() },
    );
    take(&store, host(1), &events(vec![late])).await;
    assert_eq!(store.guest(guest(1)).await.unwrap()[0].state, GuestState::Paused, "older than what is known");
}

#[tokio::test]
async fn a_guest_of_an_agent_that_tells_no_states_is_known_by_its_events() {
    let (_dir, store) = store().await;
    let paused = event(
        5,
        Severity::Info,
        EventKind::StateChanged { from: GuestState::Running, to: GuestState::Paused, why: "stop".into() },
    );
    take(&store, host(1), &events(vec![paused])).await;
    let row = &store.guests().await.unwrap()[0];
    assert_eq!((row.name.as_str(), row.state), ("web-1", GuestState::Paused));
}

#[tokio::test]
async fn how_a_spool_stands_is_kept_as_it_was_last_told() {
    let (_dir, store) = store().await;
    let counters = SpoolCounters { made: 9, waiting: 4, ..SpoolCounters::default() };
    store.take(host(1), Some("alpha"), Some(&counters), &[]).await.unwrap();
    take(&store, host(1), &events(vec![note(1)])).await;
    assert_eq!(store.hosts().await.unwrap()[0].counters, Some(counters));
}
