//! The spool against a simple model: any operations, with the agent killed or the power cut in any file
//! operation, or any of them failing.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use vmward_model::exchange::{Dropped, SpoolCounters};
use vmward_model::{Event, EventKind, FORMAT, Severity};

use super::bound::Bound;
use super::ledger::{Fate, Source};
use super::memory_disk::{MemoryDisk, Mishap};
use super::record::{ALL, Body};
use super::store::{LEDGER, New, Spool};
use crate::agent::clock;

const FOLDER: &str = "/spool";

/// What is asked of the spool.
#[derive(Clone, Debug)]
enum Ask {
    /// Entries of these severities, each with a weight of its own.
    Add(Vec<(Severity, u64)>),
    /// The `n`th of those that wait ends.
    End(Vec<(prop::sample::Index, Fate)>),
    /// The agent ends and starts with another bound.
    Reopen(Bound),
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    seq: u64,
    severity: Severity,
    event: u64,
    bytes: u64,
}

/// The model: a list, and nothing clever.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    next: u64,
    waiting: Vec<Known>,
    made: u64,
    stored: u64,
    refused: u64,
    dropped: Dropped,
    bound: Bound,
}

impl Model {
    fn fit(&mut self) {
        let over = |it: &Model| {
            it.waiting.len() as u64 > it.bound.entries
                || it.waiting.iter().map(|it| it.bytes).sum::<u64>() > it.bound.bytes
        };
        while over(self) {
            let lowest = self.waiting.iter().map(|it| (it.severity, it.seq)).min().unwrap();
            self.waiting.retain(|it| it.seq != lowest.1);
            *self.dropped.of(lowest.0) += 1;
        }
    }

    fn add(&mut self, severity: Severity, event: u64, bytes: u64) {
        self.made += 1;
        let seq = self.next;
        self.next += 1;
        if bytes > self.bound.bytes || self.bound.entries == 0 {
            *self.dropped.of(severity) += 1;
            return;
        }
        self.waiting.push(Known { seq, severity, event, bytes });
        self.fit();
    }

    fn end(&mut self, seq: u64, fate: Fate) {
        let Some(at) = self.waiting.iter().position(|it| it.seq == seq) else { return };
        let it = self.waiting.remove(at);
        match fate {
            Fate::Stored => self.stored += 1,
            Fate::Refused => self.refused += 1,
            Fate::Dropped => *self.dropped.of(it.severity) += 1,
        }
    }

    fn counters(&self) -> SpoolCounters {
        SpoolCounters {
            made: self.made,
            stored: self.stored,
            refused: self.refused,
            dropped: self.dropped,
            waiting: self.waiting.len() as u64,
            waiting_bytes: self.waiting.iter().map(|it| it.bytes).sum(),
        }
    }
}

fn new(seq: u64, severity: Severity, more_bytes: u64) -> New {
    let kind = EventKind::Note { text: "n".into() };
    let (guest, name, incarnation) = (None, None, None);
    // The same moment for all, so that bytes can be told beforehand.
    let at = serde_json::from_str(r#"{"utc":"2026-01-01T00:00:00Z","mono_ms":1}"#).unwrap();
    let event = Event { format: FORMAT, seq, at, severity, guest, name, incarnation, kind };
    New { severity, source: Source::Event(seq), body: Body::Event { event: Box::new(event) }, more_bytes }
}

fn size(seq: u64, it: &New) -> u64 {
    let record = super::Record { seq, severity: it.severity, body: it.body.clone() };
    serde_json::to_vec_pretty(&record).unwrap().len() as u64 + 1 + it.more_bytes
}

/// The spool says what the model says, down to the files.
fn agrees(spool: &Spool<MemoryDisk>, disk: &MemoryDisk, model: &Model) -> bool {
    let said: Vec<_> = spool
        .state()
        .waiting()
        .map(|it| (it.severity, it.seq, it.source.clone(), it.bytes, it.file_name()))
        .collect();
    let mut want: Vec<_> = model.waiting.iter().collect();
    want.sort_by_key(|it| (it.severity, it.seq));
    let same = said.len() == want.len()
        && said.iter().zip(&want).all(|(it, want)| {
            (it.0, it.1, &it.2, it.3) == (want.severity, want.seq, &Source::Event(want.event), want.bytes)
        });
    let mut names: Vec<String> = disk.content().into_keys().filter(|it| it != LEDGER).collect();
    let mut expected: Vec<String> = said.into_iter().map(|it| it.4).collect();
    names.sort();
    expected.sort();
    let readable = spool.state().waiting().all(|it| spool.record(it).is_ok());
    let counters = spool.state().counters();
    let sum = counters.stored + counters.refused + counters.dropped.total() + counters.waiting;
    same && readable && names == expected && counters == model.counters() && counters.made == sum
}

fn severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(ALL.to_vec())
}

fn bound() -> impl Strategy<Value = Bound> {
    (0u64..12, 0u64..6000).prop_map(|(entries, bytes)| Bound { entries, bytes })
}

fn ask() -> impl Strategy<Value = Ask> {
    let fate = prop::sample::select(vec![Fate::Stored, Fate::Refused]);
    prop_oneof![
        4 => prop::collection::vec((severity(), 0u64..900), 1..5).prop_map(Ask::Add),
        3 => prop::collection::vec((any::<prop::sample::Index>(), fate), 1..4).prop_map(Ask::End),
        1 => bound().prop_map(Ask::Reopen),
    ]
}

/// What goes wrong, and at which file operation of the request.
fn mishap() -> impl Strategy<Value = Option<(u64, Mishap, bool)>> {
    let kind = prop::sample::select(vec![
        Mishap::Fails(nix::libc::ENOSPC),
        Mishap::Fails(nix::libc::EIO),
        Mishap::Killed,
    ]);
    prop::option::of((0u64..14, kind, any::<bool>()))
}

fn open(disk: &MemoryDisk, bound: Bound) -> Result<Spool<MemoryDisk>, super::SpoolError> {
    Spool::open(disk.clone(), Path::new(FOLDER), bound)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_spool_is_as_before_or_as_after(
        first in bound(),
        steps in prop::collection::vec((ask(), mishap()), 1..25),
        luck in prop::collection::vec(any::<u8>(), 64),
    ) {
        let disk = MemoryDisk::default();
        let mut spool = open(&disk, first).unwrap();
        let mut model = Model {
            next: 1, waiting: Vec::new(), made: 0, stored: 0, refused: 0, dropped: Dropped::default(), bound: first,
        };
        let mut luck = luck.into_iter().cycle();
        let mut event = 0;
        for (ask, trouble) in steps {
            let before = model.clone();
            let mut dies = false;
            let mut cuts = false;
            if let Some((at, mishap, cut)) = trouble {
                disk.mishap(at, mishap);
                dies = mishap == Mishap::Killed;
                cuts = cut && dies;
            }
            let failed = match ask {
                Ask::Add(wanted) => {
                    let mut all = Vec::new();
                    for (n, (severity, more)) in wanted.into_iter().enumerate() {
                        event += 1;
                        let it = new(event, severity, more);
                        let bytes = size(before.next + n as u64, &it);
                        model.add(severity, event, bytes);
                        all.push(it);
                    }
                    spool.add(all).is_err()
                }
                Ask::End(which) => {
                    let fates: BTreeMap<u64, Fate> = which
                        .into_iter()
                        .filter(|_| !before.waiting.is_empty())
                        .map(|(at, fate)| (at.get(&before.waiting).seq, fate))
                        .collect();
                    fates.iter().for_each(|(seq, fate)| model.end(*seq, *fate));
                    spool.end(&fates.into_iter().collect::<Vec<_>>()).is_err()
                }
                Ask::Reopen(bound) => {
                    model.bound = bound;
                    model.fit();
                    match open(&disk, bound) {
                        Ok(again) => { spool = again; false }
                        Err(_) => true,
                    }
                }
            };
            let came = trouble.is_some() && !disk.is_pending();
            if cuts {
                disk.power_cut(|| luck.next().unwrap());
            } else {
                disk.restart();
            }
            if came || dies {
                // The next start, with the bound of now.
                spool = open(&disk, model.bound).unwrap();
                let mut as_before = before.clone();
                as_before.bound = model.bound;
                as_before.fit();
                if agrees(&spool, &disk, &as_before) {
                    prop_assert!(failed || as_before == model || dies, "it said that it was done");
                    model = as_before;
                    continue;
                }
            }
            prop_assert!(agrees(&spool, &disk, &model), "{:?}\n{model:?}\nfailed {failed}", spool.state());
        }
    }
}

#[test]
fn a_ledger_that_was_damaged_makes_entries_again_under_new_numbers() {
    let disk = MemoryDisk::default();
    let bound = Bound { entries: 100, bytes: 1 << 20 };
    let mut spool = open(&disk, bound).unwrap();
    spool.add(vec![new(1, Severity::Info, 0)]).unwrap();
    spool.add(vec![new(2, Severity::Info, 0)]).unwrap();
    spool.add(vec![new(3, Severity::Info, 0)]).unwrap();
    let ledger = disk.content().remove(LEDGER).unwrap();
    let mut damaged = ledger.clone();
    let second = ledger.iter().position(|it| *it == b'\n').unwrap() + 20;
    damaged[second] ^= 1;
    super::files::Files::write(&disk, &Path::new(FOLDER).join(LEDGER), &damaged).unwrap();
    let mut spool = open(&disk, bound).unwrap();
    assert_eq!((spool.state().counters().made, spool.state().events_upto()), (1, 1));
    spool.add(vec![new(2, Severity::Info, 0)]).unwrap();
    assert!(spool.state().waiting().map(|it| it.seq).max().unwrap() > 1000, "no number comes twice");
    assert!(clock::now().mono_ms > 0);
}

#[test]
fn a_full_disk_keeps_what_waits_and_takes_more_once_there_is_room() {
    let disk = MemoryDisk::default();
    let bound = Bound { entries: 100, bytes: 1 << 20 };
    let mut spool = open(&disk, bound).unwrap();
    spool.add(vec![new(1, Severity::Info, 0)]).unwrap();
    disk.room(Some(disk.content().values().map(Vec::len).sum::<usize>() + 100));
    for _ in 0..3 {
        assert!(spool.add(vec![new(2, Severity::Crit, 0)]).is_err());
        assert_eq!(spool.state().counters().made, 1);
    }
    disk.room(None);
    spool.add(vec![new(2, Severity::Crit, 0)]).unwrap();
    let counters = spool.state().counters();
    assert_eq!((counters.made, counters.waiting), (2, 2));
}
