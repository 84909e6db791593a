//! The spool as a whole: from its sources, through a disk that is full, to room for reports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use vmward_model::exchange::SpoolCounters;
use vmward_model::{Class, Event, EventKind, Sensitivity, Severity};

use super::files::Files;
use super::keeper::start_on;
use super::memory_disk::MemoryDisk;
use super::{Bound, Fate, Handle, Place, Standing, start, test_report, view};
use crate::agent::events::{Events, read};

const LONG: Duration = Duration::from_secs(60);

fn place(dir: &Path) -> Place {
    std::fs::create_dir_all(dir.join("reports")).unwrap();
    Place {
        folder: dir.join("spool"),
        events: dir.join("events"),
        reports: dir.join("reports"),
        reports_cap: 1 << 30,
        bound: Bound { entries: 1000, bytes: 1 << 30 },
    }
}

/// An event store with its spool.
struct Kept {
    dir: TempDir,
    events: Events,
    spool: Handle,
}

impl Kept {
    fn on<F: Files + Clone + 'static>(files: F) -> Kept {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(&dir.path().join("events")).unwrap();
        let spool = start_on(files, place(dir.path()), events.clone()).unwrap();
        Kept { dir, events, spool }
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
        until(&self.spool, what, wanted).await
    }

    async fn note(&self, severity: Severity) {
        self.events.emit(severity, None, EventKind::Note { text: "n".into() });
        assert!(self.events.flushed(LONG).await);
        self.spool.wake();
    }

    fn told(&self) -> Vec<Event> {
        read::all(&self.dir.path().join("events")).unwrap()
    }
}

async fn until(spool: &Handle, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
    let mut standing = spool.standing();
    let found = tokio::time::timeout(LONG, standing.wait_for(|it| wanted(it))).await;
    match found {
        Ok(Ok(it)) => it.clone(),
        other => panic!("no {what}: {other:?}"),
    }
}

fn sum(it: &SpoolCounters) -> u64 {
    it.stored + it.refused + it.dropped.total() + it.waiting
}

#[tokio::test]
async fn what_was_there_before_the_start_and_what_comes_after_become_entries() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::open(&dir.path().join("events")).unwrap();
    events.emit(Severity::Info, None, EventKind::AgentStopped);
    assert!(events.flushed(LONG).await);
    let place = place(dir.path());
    test_report::write(&place.reports, Class::Panicked, Sensitivity::Text, &[100]);
    // Half a bundle is none.
    std::fs::create_dir(place.reports.join(".unfinished-x")).unwrap();
    let spool = start(place.clone(), events.clone()).unwrap();
    until(&spool, "the old ones", |it| it.counters.made == 2).await;
    test_report::write(&place.reports, Class::Well, Sensitivity::Text, &[100]);
    spool.wake();
    until(&spool, "the new one", |it| it.counters.made == 3).await;
    let mut names: Vec<String> = std::fs::read_dir(&place.folder)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "CRIT-000000000001-report.json",
        "INFO-000000000002-agent-stopped.json",
        "INFO-000000000003-report.json",
        "ledger",
    ];
    assert_eq!(names, expected);
    let text = std::fs::read_to_string(place.folder.join(&names[0])).unwrap();
    assert!(text.contains("\"class\": \"panicked\"") && text.contains("\"bundle\""), "{text}");
    // Again, with another keeper: nothing is made twice.
    drop(spool);
    let spool = start(place.clone(), events).unwrap();
    until(&spool, "the spool as it was", |it| it.counters.waiting == 3).await;
    assert_eq!(view::read(&place.folder).unwrap().unwrap().counters.made, 3);
}

#[tokio::test]
async fn a_bundle_that_somebody_took_away_is_dropped_and_counted() {
    let kept = Kept::on(super::files::RealFiles);
    let reports = kept.dir.path().join("reports");
    let (_, path) = test_report::write(&reports, Class::Suspect, Sensitivity::Text, &[1]);
    kept.spool.wake();
    kept.until("the entry", |it| it.counters.waiting == 1).await;
    std::fs::remove_dir_all(path).unwrap();
    kept.spool.wake();
    let standing = kept.until("the drop", |it| it.counters.dropped.error == 1).await;
    assert_eq!(standing.counters.made, sum(&standing.counters));
}

#[tokio::test]
async fn room_is_made_by_what_was_sent_then_by_what_matters_least() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::open(&dir.path().join("events")).unwrap();
    let mut place = place(dir.path());
    let write = |class| {
        let made = test_report::write(&place.reports, class, Sensitivity::Text, &[10_000]).1;
        // Names order by age in milliseconds.
        std::thread::sleep(Duration::from_millis(3));
        made
    };
    let crit = write(Class::Panicked);
    let error = [write(Class::Suspect), write(Class::Suspect)];
    let well = write(Class::Well);
    let newest = write(Class::Suspect);
    let all: Vec<&PathBuf> = [&crit, &error[0], &error[1], &well, &newest].into();
    let one = crate::report::size(&crit).unwrap();
    let there = || all.iter().map(|it| it.exists()).collect::<Vec<bool>>();
    // Caps that leave four, three, two and one of five.
    for (cap, left, sent) in [
        (4, [true, true, false, true, true], true),
        (3, [true, true, false, false, true], true),
        (2, [true, false, false, false, true], true),
        (0, [false, false, false, false, true], true),
    ] {
        place.reports_cap = cap * one + one / 2;
        let spool = start(place.clone(), events.clone()).unwrap();
        until(&spool, "the entries", |it| it.counters.made >= 5).await;
        if cap == 4 && sent {
            // The second ERROR is the one that a controller has.
            let seq = view::read(&place.folder).unwrap().unwrap().waiting;
            let name = error[1].file_name().unwrap().to_string_lossy().into_owned();
            let seq = seq.iter().find(|it| it.source == super::Source::Report(name.clone())).unwrap().seq;
            spool.end(vec![(seq, Fate::Stored)]).await.unwrap();
        }
        spool.make_room(newest.clone());
        // Questions are answered in their order.
        spool.next(1, 1).await.unwrap();
        assert_eq!(there(), left, "room for {cap}");
        let counters = view::read(&place.folder).unwrap().unwrap().counters;
        assert_eq!(counters.made, sum(&counters));
    }
    let counters = view::read(&place.folder).unwrap().unwrap().counters;
    assert_eq!(
        (counters.stored, counters.dropped.info, counters.dropped.error, counters.dropped.crit),
        (1, 1, 1, 1)
    );
    assert!(events.flushed(LONG).await);
    let told = read::all(&place.events).unwrap();
    let text = serde_json::to_string(&told).unwrap();
    assert!(
        text.contains("no controller had") && text.contains(&*crit.file_name().unwrap().to_string_lossy()),
        "{text}"
    );
}

#[tokio::test]
async fn a_full_disk_is_told_of_and_got_over_without_a_loss() {
    let disk = MemoryDisk::default();
    disk.room(Some(0));
    let kept = Kept::on(disk.clone());
    kept.note(Severity::Crit).await;
    kept.until("the problem", |it| it.problem.as_ref().is_some_and(|it| it.contains("No space"))).await;
    // Woken again and again it does not try again at once.
    let before = disk.operations();
    for _ in 0..200 {
        kept.spool.wake();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(disk.operations() - before < 60, "{} operations in 0.4 s", disk.operations() - before);
    assert!(kept.spool.next(10, 1000).await.is_ok_and(|it| it.events.is_empty()));
    disk.room(None);
    let standing = kept.until("the recovery", |it| it.problem.is_none() && it.counters.waiting >= 1).await;
    assert_eq!(standing.counters.made, sum(&standing.counters));
    assert!(kept.events.flushed(LONG).await);
    let told = kept.told();
    let severities: Vec<Severity> = told.iter().skip(1).map(|it| it.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warn], "{told:?}");
    // Those two are entries in their turn, and nothing else comes of them.
    kept.spool.wake();
    kept.until("all", |it| it.counters.made == 3 && it.counters.waiting == 3).await;
}

#[tokio::test]
async fn drops_are_told_of_once_in_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::open(&dir.path().join("events")).unwrap();
    let place = Place { bound: Bound { entries: 5, bytes: 1 << 20 }, ..place(dir.path()) };
    let spool = start(place.clone(), events.clone()).unwrap();
    for round in 1..=3u64 {
        for _ in 0..20 {
            events.emit(Severity::Debug, None, EventKind::AgentStopped);
        }
        assert!(events.flushed(LONG).await);
        spool.wake();
        until(&spool, "the drops", |it| it.counters.made >= round * 20 && it.counters.waiting == 5).await;
    }
    assert!(events.flushed(LONG).await);
    let told = read::all(&place.events).unwrap();
    let said = |it: &&Event| matches!(&it.kind, EventKind::Note { text } if text.contains("DEBUG"));
    assert_eq!(told.iter().filter(said).count(), 1);
    spool.wake();
    let standing = until(&spool, "the word of it", |it| it.counters.made == 61).await;
    // WARN is dropped after DEBUG.
    assert_eq!((standing.counters.dropped.warn, standing.counters.dropped.debug), (0, 56));
}
