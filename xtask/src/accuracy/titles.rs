//! Scores on crash logs with labelled titles: is it a crash, and of which class.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vmward_console_log::TroubleKind::{self, *};

use super::{Figure, troubles};

pub(super) fn score(folder: &Path, misses: &mut Vec<String>) -> Result<Vec<Figure>> {
    let (mut positive, mut noticed, mut negative, mut false_events) = (0, 0, 0, 0);
    let (mut typed, mut right_type, mut own_titles) = (0, 0, 0);
    let mut paths: Vec<_> = fs::read_dir(folder)?.filter_map(|it| Some(it.ok()?.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|it| it.extension().is_some_and(|it| it == "txt")) {
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let case = Case::parse(&file);
        let title = case.keys.get("TITLE").copied().unwrap_or_default();
        let kinds: Vec<_> = troubles(&case.log).iter().map(|it| it.kind).collect();
        let name = path.file_name().unwrap_or_default().display();
        if title.is_empty() {
            negative += 1;
            if !kinds.is_empty() {
                false_events += 1;
                misses.push(format!("{name}: nothing should be found, but {kinds:?}"));
            }
            continue;
        }
        // Titles of the fuzzer itself and of a secure world's system: no kernel said them.
        if ["SYZFAIL", "go runtime error", "trusty: ", "panic: "].iter().any(|it| title.starts_with(it)) {
            own_titles += 1;
            continue;
        }
        positive += 1;
        noticed += usize::from(!kinds.is_empty());
        if kinds.is_empty() {
            misses.push(format!("{name}: nothing found of {title}"));
            continue;
        }
        let Some(wanted) = case.keys.get("TYPE").and_then(|it| kinds_of(it)) else { continue };
        typed += 1;
        // Disks that give errors beside a crash are not what the label is about.
        let first = kinds.iter().find(|it| **it != IoError).unwrap_or(&kinds[0]);
        if wanted.contains(first) {
            right_type += 1;
        } else {
            misses.push(format!("{name}: {title}: {first:?} instead of {wanted:?}"));
        }
    }
    let mut figures = vec![
        Figure::share("crash titles: trouble noticed", noticed, positive, 99.0),
        Figure::share("crash titles: class of the first right, where covered", right_type, typed, 97.0),
    ];
    figures.push(Figure::mistakes(
        &format!("crash titles: found where there is none, of {negative}"),
        false_events,
        0,
    ));
    // Not a target: said so that nobody looks for them in the shares above.
    if own_titles > 0 {
        misses.push(format!("{own_titles} titles of the fuzzer itself were not scored"));
    }
    Ok(figures)
}

struct Case<'a> {
    keys: BTreeMap<&'a str, &'a str>,
    log: Vec<u8>,
}

impl<'a> Case<'a> {
    /// `KEY: value` lines up to the first empty one, the console, and perhaps `REPORT:` with an extract.
    fn parse(file: &'a [u8]) -> Self {
        let end = file.windows(2).position(|it| it == b"\n\n").map_or(file.len(), |it| it + 1);
        let (head, log) = file.split_at(end);
        let head = std::str::from_utf8(head).unwrap_or_default();
        let keys = head.lines().filter_map(|it| it.split_once(':')).map(|(key, value)| (key, value.trim()));
        let report = log.windows(9).position(|it| it == b"\n\nREPORT:").unwrap_or(log.len());
        // The first of repeated keys counts.
        let mut map = BTreeMap::new();
        for (key, value) in keys.filter(|it| !it.0.starts_with('#')) {
            map.entry(key).or_insert(value);
        }
        Self { keys: map, log: log[..report].to_vec() }
    }
}

/// Which of our kinds a label's type may be; `None` for types that are not told apart yet.
fn kinds_of(label: &str) -> Option<&'static [TroubleKind]> {
    Some(match label {
        "HANG" => &[RcuStall, SoftLockup, HardLockup, HungTask, WorkqueueLockup],
        "LOCKDEP" => &[Lockdep],
        "WARNING" | "REFCOUNT_WARNING" => &[Warning],
        "NULL-POINTER-DEREFERENCE" => &[NullDeref],
        "ATOMIC_SLEEP" | "LEAK" | "BUG" => &[Bug],
        "MEMORY_SAFETY_BUG" => &[PageFault, GeneralProtection, Bug],
        it if ["KASAN", "KMSAN", "KCSAN", "KFENCE", "UBSAN"].iter().any(|tool| it.starts_with(tool)) => {
            &[Sanitizer]
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_split_into_its_parts() {
        let case = Case::parse(b"TITLE: a: b\nALT: c\nALT: d\nTYPE: HANG\n\nlog\nmore\n\nREPORT:\nextract\n");
        assert_eq!((case.keys["TITLE"], case.keys["ALT"], case.keys["TYPE"]), ("a: b", "c", "HANG"));
        assert_eq!(case.log, b"\nlog\nmore");
    }
}
