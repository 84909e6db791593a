//! The spool's book: what waits, how far the sources were read, and how many entries went which way.
//!
//! A file of lines, each `DIGEST OPERATIONS`: the first eight digits of the SHA-256 of the JSON that
//! follows. A line is one step: all of its operations count or none. What is after the first line that
//! is not whole never happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vmward_model::exchange::{Dropped, SpoolCounters};
use vmward_model::{Digest, Severity};

use super::record;

/// Where an entry comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The event of this number in the event store.
    Event(u64),
    /// The bundle of this name in the folder of reports.
    Report(String),
}

/// An entry that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its number.
    pub seq: u64,
    /// How much it matters.
    pub severity: Severity,
    /// One word for what it is.
    pub kind: String,
    /// Bytes that count for it.
    pub bytes: u64,
    /// Where it comes from.
    pub source: Source,
    /// Why it was set aside, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
}

impl Waiting {
    /// What its file is called.
    pub fn file_name(&self) -> String {
        record::file_name(self.severity, self.seq, &self.kind)
    }
}

/// How an entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A controller has it.
    Stored,
    /// A controller will never take it.
    Refused,
    /// It was dropped.
    Dropped,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Op {
    /// Everything as it stands; only as the first line of a ledger.
    Whole(Box<Whole>),
    /// An entry was made and waits.
    Add(Waiting),
    /// An entry was made and dropped at once.
    Turn { seq: u64, severity: Severity, source: Source },
    /// One that waited waits no more.
    End { seq: u64, fate: Fate },
    /// One was set aside, and why.
    Aside { seq: u64, why: String },
    /// A bundle that does not wait has gone from the folder of reports.
    Forget { bundle: String },
    /// Numbers go on from here, after a ledger that was damaged.
    Skip { next: u64 },
}

/// A [`State`] as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Whole {
    next: u64,
    events_upto: u64,
    made: u64,
    stored: u64,
    refused: u64,
    dropped: Dropped,
    waiting: Vec<Waiting>,
    bundles: BTreeMap<String, u64>,
}

/// What the lines of a ledger come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    next: u64,
    events_upto: u64,
    made: u64,
    stored: u64,
    refused: u64,
    dropped: Dropped,
    /// In the order of dropping.
    waiting: BTreeMap<(Severity, u64), Waiting>,
    by_seq: BTreeMap<u64, Severity>,
    /// Bundles that became entries and are still there, with the entry's number.
    bundles: BTreeMap<String, u64>,
    bytes: u64,
}

impl State {
    /// The number of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.next.max(1)
    }

    /// The event store was read up to this number.
    pub(super) fn events_upto(&self) -> u64 {
        self.events_upto
    }

    /// What waits, in the order of dropping.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// What waits of one severity, the oldest first.
    pub(super) fn of(&self, severity: Severity) -> impl Iterator<Item = &Waiting> {
        self.waiting.range((severity, 0)..=(severity, u64::MAX)).map(|(_, it)| it)
    }

    /// One that waits.
    pub(super) fn get(&self, seq: u64) -> Option<&Waiting> {
        self.waiting.get(&(*self.by_seq.get(&seq)?, seq))
    }

    /// How many wait.
    pub(super) fn count(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Bytes of those.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bundles that are known, each with its entry's number.
    pub(super) fn bundles(&self) -> &BTreeMap<String, u64> {
        &self.bundles
    }

    /// The entry of a bundle, where it waits.
    pub(super) fn waiting_bundle(&self, name: &str) -> Option<&Waiting> {
        self.get(*self.bundles.get(name)?)
    }

    pub(super) fn counters(&self) -> SpoolCounters {
        SpoolCounters {
            made: self.made,
            stored: self.stored,
            refused: self.refused,
            dropped: self.dropped,
            waiting: self.count(),
            waiting_bytes: self.bytes,
        }
    }

    pub(super) fn whole(&self) -> Op {
        Op::Whole(Box::new(Whole {
            next: self.next,
            events_upto: self.events_upto,
            made: self.made,
            stored: self.stored,
            refused: self.refused,
            dropped: self.dropped,
            waiting: self.waiting.values().cloned().collect(),
            bundles: self.bundles.clone(),
        }))
    }

    /// Takes one operation. One that makes no sense in this state (the ending of what does not wait, a
    /// number that was used) changes nothing, so that no line can break the sum of the counters.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Whole(it) => {
                *self = State {
                    next: it.next,
                    events_upto: it.events_upto,
                    made: it.made,
                    stored: it.stored,
                    refused: it.refused,
                    dropped: it.dropped,
                    bundles: it.bundles.clone(),
                    ..State::default()
                };
                it.waiting.iter().for_each(|it| self.put(it.clone()));
            }
            Op::Add(it) => {
                if self.make(it.seq, &it.source) {
                    self.put(it.clone());
                }
            }
            Op::Turn { seq, severity, source } => {
                if self.make(*seq, source) {
                    let counter = self.dropped.of(*severity);
                    *counter = counter.saturating_add(1);
                }
            }
            Op::End { seq, fate } => {
                let Some(it) = self.take(*seq) else { return };
                let counter = match fate {
                    Fate::Stored => &mut self.stored,
                    Fate::Refused => &mut self.refused,
                    Fate::Dropped => self.dropped.of(it.severity),
                };
                *counter = counter.saturating_add(1);
            }
            Op::Aside { seq, why } => {
                let key = self.by_seq.get(seq).map(|severity| (*severity, *seq));
                if let Some(it) = key.and_then(|key| self.waiting.get_mut(&key)) {
                    it.aside = Some(why.clone());
                }
            }
            Op::Forget { bundle } => {
                if self.waiting_bundle(bundle).is_none() {
                    self.bundles.remove(bundle);
                }
            }
            Op::Skip { next } => self.next = self.next.max(*next),
        }
    }

    fn make(&mut self, seq: u64, source: &Source) -> bool {
        if seq < self.next() {
            return false;
        }
        self.next = seq.saturating_add(1);
        self.made = self.made.saturating_add(1);
        match source {
            Source::Event(number) => self.events_upto = self.events_upto.max(*number),
            Source::Report(bundle) => drop(self.bundles.insert(bundle.clone(), seq)),
        }
        true
    }

    fn put(&mut self, it: Waiting) {
        self.bytes = self.bytes.saturating_add(it.bytes);
        self.by_seq.insert(it.seq, it.severity);
        self.waiting.insert((it.severity, it.seq), it);
    }

    fn take(&mut self, seq: u64) -> Option<Waiting> {
        let it = self.waiting.remove(&(self.by_seq.remove(&seq)?, seq))?;
        self.bytes = self.bytes.saturating_sub(it.bytes);
        Some(it)
    }
}

/// What was read of a ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReadLedger {
    pub(super) state: State,
    /// Bytes of the whole lines.
    pub(super) whole: u64,
    /// Whole lines stand after one that is not: not just the torn end of a killed writer.
    pub(super) damaged: bool,
}

/// Reads a ledger up to the first line that is not whole.
pub(super) fn read(bytes: &[u8]) -> ReadLedger {
    let mut read = ReadLedger::default();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|it| *it == b'\n') {
        let (text, after) = rest.split_at(end.saturating_add(1));
        let Some(ops) = parse(text) else {
            read.damaged = after.split(|it| *it == b'\n').any(|it| parse(it).is_some());
            break;
        };
        ops.iter().for_each(|it| read.state.apply(it));
        read.whole = read.whole.saturating_add(text.len() as u64);
        rest = after;
    }
    read
}

fn parse(line: &[u8]) -> Option<Vec<Op>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    if check(json).as_bytes() != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

fn check(json: &[u8]) -> String {
    let digest = Digest::from_bytes(&Sha256::digest(json).into());
    digest.as_str().chars().take(8).collect()
}

/// The line of these operations.
pub(super) fn line(ops: &[Op]) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(ops)?;
    let mut line = check(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(seq: u64, severity: Severity) -> Op {
        let (kind, source) = ("note".to_owned(), Source::Event(seq * 10));
        Op::Add(Waiting { seq, severity, kind, bytes: 5, source, aside: None })
    }

    #[test]
    fn a_line_counts_whole_or_not_at_all() {
        let first = line(&[add(1, Severity::Info), add(2, Severity::Crit)]).unwrap();
        let second = line(&[Op::End { seq: 1, fate: Fate::Stored }, add(3, Severity::Warn)]).unwrap();
        let all = [first.clone(), second].concat();
        for cut in first.len()..all.len() {
            let read = read(&all[..cut]);
            assert_eq!((read.whole, read.damaged), (first.len() as u64, false), "cut at {cut}");
            assert_eq!(read.state.counters().made, 2);
        }
        let read = read(&all);
        let counters = read.state.counters();
        assert_eq!((counters.made, counters.stored, counters.waiting, counters.waiting_bytes), (3, 1, 2, 10));
        assert_eq!((read.state.next(), read.state.events_upto()), (4, 30));
    }

    #[test]
    fn a_flipped_bit_ends_the_reading_and_is_told_from_a_torn_end() {
        let first = line(&[add(1, Severity::Info)]).unwrap();
        let mut all = [first.clone(), line(&[add(2, Severity::Info)]).unwrap()].concat();
        all[first.len() / 2] ^= 1;
        let read = read(&all);
        assert!(read.damaged && read.state.counters().made == 0);
    }

    #[test]
    fn what_is_written_down_whole_is_the_same_when_read() {
        let mut state = State::default();
        for op in [add(1, Severity::Info), add(2, Severity::Crit), Op::End { seq: 1, fate: Fate::Refused }] {
            state.apply(&op);
        }
        let report = Source::Report("b".into());
        state.apply(&Op::Turn { seq: 3, severity: Severity::Debug, source: report });
        assert_eq!(read(&line(&[state.whole()]).unwrap()).state, state);
    }

    #[test]
    fn an_operation_that_makes_no_sense_breaks_no_sum() {
        let mut state = State::default();
        state.apply(&add(1, Severity::Info));
        let before = state.clone();
        state.apply(&add(1, Severity::Crit));
        state.apply(&Op::End { seq: 9, fate: Fate::Stored });
        assert_eq!(state, before);
    }
}
