//! What has to go so that the rest fits: the lowest severity first, the oldest within one.

use std::collections::BTreeMap;

use vmward_model::Severity;

use super::ledger::{Source, State};

/// How much a spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Entries.
    pub entries: u64,
    /// Bytes of the entries' files and of the bundles that they name.
    pub bytes: u64,
}

/// An entry that wants to get in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) severity: Severity,
    pub(super) bytes: u64,
    pub(super) source: Source,
}

/// What becomes of those that want in and of those that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Numbers of those that waited and are dropped.
    pub(super) victims: Vec<u64>,
    /// For each that wants in: whether it gets in. Those that do not are made and dropped at once.
    pub(super) enters: Vec<bool>,
}

/// Decides. Those that want in get the numbers from `state.next` on, so within a severity they are the
/// youngest. One that is larger than the whole bound is dropped itself: no room could be made for it.
pub(super) fn plan(state: &State, bound: Bound, wanted: &[Wanted]) -> Plan {
    let mut old = state.waiting().peekable();
    let (mut count, mut bytes) = (state.count(), state.bytes());
    let mut fresh: BTreeMap<(Severity, usize), u64> = BTreeMap::new();
    let mut plan = Plan { victims: Vec::new(), enters: vec![false; wanted.len()] };
    let mut fit = |count: &mut u64, bytes: &mut u64, fresh: &mut BTreeMap<(Severity, usize), u64>| {
        while *count > bound.entries || *bytes > bound.bytes {
            let lowest_old = old.peek().map(|it| it.severity);
            let lowest_new = fresh.first_key_value().map(|((severity, _), _)| *severity);
            let freed = match (lowest_old, lowest_new) {
                (None, None) => return,
                // Of the same severity, the one that waited is older.
                (Some(old_one), new_one) if new_one.is_none_or(|it| old_one <= it) => {
                    let Some(victim) = old.next() else { return };
                    plan.victims.push(victim.seq);
                    victim.bytes
                }
                _ => match fresh.pop_first() {
                    Some((_, bytes)) => bytes,
                    None => return,
                },
            };
            *count = count.saturating_sub(1);
            *bytes = bytes.saturating_sub(freed);
        }
    };
    fit(&mut count, &mut bytes, &mut fresh);
    for (at, it) in wanted.iter().enumerate() {
        if it.bytes > bound.bytes || bound.entries == 0 {
            continue;
        }
        fresh.insert((it.severity, at), it.bytes);
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(it.bytes);
        fit(&mut count, &mut bytes, &mut fresh);
    }
    for (_, at) in fresh.keys() {
        if let Some(enters) = plan.enters.get_mut(*at) {
            *enters = true;
        }
    }
    plan
}
