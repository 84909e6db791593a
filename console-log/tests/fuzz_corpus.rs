//! Replays the fuzz corpus on stable: the same checks as the targets, and for our own seeds what must come out.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::PathBuf;

use vmward_console_log::sysrq::parse;
use vmward_console_log::{Event, EventKind, LabelRule, Reader, TroubleKind};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
        .map(|it| it.unwrap().path())
        .map(|it| (it.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&it).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

fn read(bytes: &[u8], chunk: usize) -> Vec<Event> {
    let mut reader = Reader::with_labels(vec![LabelRule::containing("tick", "tick ")]);
    let mut events: Vec<_> = bytes.chunks(chunk).flat_map(|it| reader.push(it)).collect();
    events.extend(reader.push(b"\n"));
    events.extend(reader.flush());
    events
}

fn troubles(bytes: &[u8]) -> Vec<TroubleKind> {
    let kind = |it: Event| if let EventKind::Trouble(it) = it.kind { Some(it.kind) } else { None };
    read(bytes, 4096).into_iter().filter_map(kind).collect()
}

#[test]
fn every_seed_reads_the_same_in_any_chunks() {
    for (name, bytes) in seeds("stream").into_iter().chain(seeds("sysrq")) {
        let whole = read(&bytes, bytes.len().max(1));
        for chunk in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(read(&bytes, chunk), whole, "{name} in chunks of {chunk}");
        }
    }
}

#[test]
fn the_seeds_of_the_stream_give_their_trouble() {
    use TroubleKind::*;
    let want: &[(&str, &[TroubleKind])] = &[
        ("arm64-oops.log", &[PageFault]),
        ("boot-and-prompts.log", &[HungTask]),
        ("lockups.log", &[SoftLockup, RcuStall, HardLockup, PidsLimit, IoError, HungTask]),
        ("oom.log", &[OomKill]),
        ("x86-oops-panic.log", &[NullDeref, Panic]),
    ];
    // The first byte of a seed is the target's chunk size.
    for (name, kinds) in want {
        let (_, bytes) = seeds("stream").into_iter().find(|it| it.0 == *name).unwrap();
        assert_eq!(troubles(&bytes[1..]), *kinds, "{name}");
    }
}

#[test]
fn a_dump_that_was_asked_for_is_no_trouble() {
    for (name, bytes) in seeds("sysrq") {
        assert_eq!(troubles(&bytes), [], "{name}");
    }
}

#[test]
fn the_seeds_of_sysrq_give_their_tasks() {
    let want = [
        ("blocked-6.12-arm64.log", vec![Some(142)], 2, false),
        ("cpus-arm64-no-nmi.log", vec![], 2, false),
        ("tasks-3.x.log", vec![Some(1), Some(2)], 0, false),
        ("tasks-5.10-x86.log", vec![Some(1), Some(86)], 0, false),
        ("torn-7.2.log", vec![Some(125), None], 0, true),
    ];
    for (name, pids, n_cpus, refused) in want {
        let (_, bytes) = seeds("sysrq").into_iter().find(|it| it.0 == name).unwrap();
        let (text, _) = parse(&bytes);
        assert_eq!(text.tasks().iter().map(|it| it.pid).collect::<Vec<_>>(), pids, "{name}");
        assert_eq!(text.cpus().len(), n_cpus, "{name}");
        assert_eq!(text.is_refused(), refused, "{name}");
    }
    let (_, bytes) = seeds("sysrq").into_iter().find(|it| it.0 == "tasks-5.10-x86.log").unwrap();
    let (text, _) = parse(&bytes);
    assert_eq!(text.tasks()[1].on_cpu, Some(0));
    assert_eq!(text.memory().unwrap().total_pages, Some(98304));
}
