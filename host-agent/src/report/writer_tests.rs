//! What a writer leaves, read back as anybody would.

use std::fs;

use super::test_bundle::{content, contents, incident, origin, write_here};
use super::*;

#[test]
fn what_was_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = open(write_here(dir.path()).path()).unwrap();
    assert_eq!(bundle.manifest().incident, incident());
    assert_eq!(bundle.manifest().artifacts.len(), contents().len());
    assert_eq!(bundle.artifact_of_kind("console").unwrap().unwrap(), b"Kernel panic");
    assert_eq!(bundle.digests().count(), 2, "equal contents are stored once");
    assert!(bundle.verify().unwrap().is_whole());
}

#[test]
fn an_incident_examined_twice_has_two_bundles() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (write_here(dir.path()), write_here(dir.path()));
    assert_ne!(first, second);
    assert!(open(first.path()).unwrap().verify().unwrap().is_whole());
    assert!(open(second.path()).unwrap().verify().unwrap().is_whole());
}

#[test]
fn a_report_that_a_reader_would_refuse_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let large = content("raw", &vec![0; (33 << 20) as usize]);
    let err = write(dir.path(), &incident(), &[large], &origin()).unwrap_err();
    assert!(matches!(err, WriteError::TooLarge(_)), "{err}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_sweep_removes_leftovers_and_waits_for_writers() {
    let dir = tempfile::tempdir().unwrap();
    let made = write_here(dir.path());
    fs::create_dir_all(dir.path().join(".unfinished-x/artifacts")).unwrap();
    fs::write(dir.path().join(".unfinished-b.tar.zst"), b"").unwrap();
    let writer = fs::File::open(dir.path()).unwrap();
    writer.lock_shared().unwrap();
    assert_eq!(sweep(dir.path()).unwrap(), Swept { removed: 0, busy: true });
    drop(writer);
    assert_eq!(sweep(dir.path()).unwrap(), Swept { removed: 2, busy: false });
    assert!(open(made.path()).unwrap().verify().unwrap().is_whole());
}
