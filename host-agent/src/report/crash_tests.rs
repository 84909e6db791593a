//! The writer's promise against a disk that forgets: a power cut at any point leaves a whole bundle or
//! none, and one that came after the writer returned leaves the bundle.
//!
//! The model keeps what was synced and, of the rest, any choice: each name and each content that was
//! not synced may be there or not, contents may be cut short. That is what a journalling file system may do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::disk::Disk;
use super::test_bundle::{contents, incident, origin};
use super::{name, write_on};

#[derive(Clone, Debug, PartialEq)]
enum Op {
    CreateDir(PathBuf),
    CreateFile(PathBuf, Vec<u8>),
    SyncFile(PathBuf),
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// Writes down what it is asked; the folder of reports is there and empty.
#[derive(Default)]
struct Recorder(RefCell<Vec<Op>>);

impl Recorder {
    fn push(&self, op: Op) -> io::Result<()> {
        self.0.borrow_mut().push(op);
        Ok(())
    }
}

impl Disk for Recorder {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.push(Op::CreateDir(path.into()))
    }

    fn create_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.push(Op::CreateFile(path.into(), content.into()))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.push(Op::SyncFile(path.into()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.push(Op::SyncDir(path.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.push(Op::Rename(from.into(), to.into()))
    }

    fn exists(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        panic!("nothing failed, yet {} is removed", path.display());
    }
}

/// Paths relative to the folder of reports; folders have no content.
type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

fn write_recorded() -> Vec<Op> {
    let disk = Recorder::default();
    write_on(&disk, Path::new("/r"), &incident(), &contents(), &origin()).unwrap();
    disk.0.into_inner()
}

/// Something that a sync would make durable: a name in a folder, a content, or a rename.
struct Effect<'a> {
    op: &'a Op,
    content: bool,
    durable: bool,
}

/// What is found after the power went when `ops` had been done. `keep` says of each thing that was not
/// synced how much of it stayed: 0 nothing, 255 all.
fn after_power_cut(ops: &[Op], keep: &mut dyn FnMut() -> u8) -> Tree {
    let mut effects: Vec<Effect<'_>> = Vec::new();
    for op in ops {
        match op {
            Op::CreateDir(_) | Op::Rename(..) => effects.push(Effect { op, content: false, durable: false }),
            Op::CreateFile(..) => {
                effects.push(Effect { op, content: false, durable: false });
                effects.push(Effect { op, content: true, durable: false });
            }
            Op::SyncFile(path) => {
                for it in effects.iter_mut().filter(|it| it.content) {
                    it.durable |= matches!(it.op, Op::CreateFile(made, _) if made == path);
                }
            }
            Op::SyncDir(folder) => {
                for it in effects.iter_mut().filter(|it| !it.content) {
                    let (Op::CreateDir(path) | Op::CreateFile(path, _) | Op::Rename(_, path)) = it.op else {
                        continue;
                    };
                    it.durable |= path.parent() == Some(folder);
                }
            }
        }
    }
    let mut kept: Vec<u8> = effects.iter().map(|it| if it.durable { 255 } else { keep() }).collect();
    // A new name leads to what was renamed, whether the old name ever reached the disk or not.
    for n in 0..effects.len() {
        let Op::CreateDir(made) = effects[n].op else { continue };
        let renamed = |(it, kept): (&Effect<'_>, &u8)| {
            matches!(it.op, Op::Rename(from, _) if from == made) && *kept > 127
        };
        if effects.iter().zip(&kept).any(renamed) {
            kept[n] = 255;
        }
    }
    let mut tree = Tree::new();
    for (it, kept) in effects.iter().zip(kept) {
        match it.op {
            Op::CreateDir(path) if kept > 127 => {
                tree.insert(path.clone(), None);
            }
            Op::CreateFile(path, _) if !it.content && kept > 127 => {
                tree.insert(path.clone(), Some(Vec::new()));
            }
            Op::CreateFile(path, content) if it.content => {
                if let Some(found) = tree.get_mut(path) {
                    *found = Some(content[..content.len() * usize::from(kept) / 255].to_vec());
                }
            }
            Op::Rename(from, to) if kept > 127 => {
                let moved: Vec<PathBuf> = tree.keys().filter(|it| it.starts_with(from)).cloned().collect();
                for path in moved {
                    if let (Some(content), Ok(rest)) = (tree.remove(&path), path.strip_prefix(from)) {
                        tree.insert(if rest == Path::new("") { to.clone() } else { to.join(rest) }, content);
                    }
                }
            }
            _ => {}
        }
    }
    // What lies in a folder whose name was lost is lost with it.
    let all: Vec<PathBuf> = tree.keys().cloned().collect();
    tree.retain(|path, _| {
        path.ancestors().skip(1).take_while(|it| *it != Path::new("/r")).all(|it| all.contains(&it.into()))
    });
    tree
}

/// What has a bundle's name: all of it, as it would be found.
fn bundle(tree: &Tree) -> Tree {
    let unfinished = |path: &Path| {
        path.strip_prefix("/r")
            .is_ok_and(|it| it.as_os_str().as_encoded_bytes().starts_with(name::UNFINISHED.as_bytes()))
    };
    tree.iter().filter(|(path, _)| !unfinished(path)).map(|(path, it)| (path.clone(), it.clone())).collect()
}

fn whole(ops: &[Op]) -> Tree {
    bundle(&after_power_cut(ops, &mut || 255))
}

/// Whether some choice of what was not synced breaks the promise, for a writer that did these steps.
fn breaks(ops: &[Op], whole: &Tree) -> Option<String> {
    for at in 0..=ops.len() {
        let mut asked = 0;
        after_power_cut(&ops[..at], &mut || {
            asked += 1;
            255
        });
        for choice in 0u32..1 << asked.min(14) {
            let mut bit = 0;
            let found = bundle(&after_power_cut(&ops[..at], &mut || {
                bit += 1;
                if choice >> (bit - 1) & 1 == 1 { 255 } else { 0 }
            }));
            if !found.is_empty() && found != *whole {
                return Some(format!("cut after {at} steps, choice {choice:b}: a broken bundle"));
            }
            if found.is_empty() && at == ops.len() {
                return Some(format!("choice {choice:b}: the bundle is lost after the writer returned"));
            }
        }
    }
    None
}

#[test]
fn a_power_cut_at_any_step_leaves_a_whole_bundle_or_none() {
    let ops = write_recorded();
    let whole = whole(&ops);
    assert_eq!(whole.len(), 1 + 1 + 1 + 2, "folder, artifacts, manifest, two contents");
    assert_eq!(breaks(&ops, &whole), None);
}

#[test]
fn every_single_sync_is_needed_and_the_model_sees_it() {
    let ops = write_recorded();
    let whole = whole(&ops);
    let syncs: Vec<usize> =
        (0..ops.len()).filter(|it| matches!(ops[*it], Op::SyncFile(_) | Op::SyncDir(_))).collect();
    assert_eq!(syncs.len(), 3 + 3, "three files, two folders and their parent");
    for at in syncs {
        let mut careless = ops.clone();
        let left_out = careless.remove(at);
        assert!(breaks(&careless, &whole).is_some(), "nobody notices that {left_out:?} is left out");
    }
}

#[test]
fn a_rename_before_the_syncs_is_seen() {
    let mut ops = write_recorded();
    let whole = whole(&ops);
    let rename = ops.iter().position(|it| matches!(it, Op::Rename(..))).unwrap();
    let (early, sync) = (ops.remove(rename), rename - 1);
    ops.insert(sync, early);
    assert!(breaks(&ops, &whole).is_some());
}

proptest! {
    #[test]
    fn contents_cut_anywhere_are_never_taken_for_a_bundle(
        at in 0usize..64,
        kept in prop::collection::vec(any::<u8>(), 32),
    ) {
        let ops = write_recorded();
        let mut kept = kept.into_iter().cycle();
        let found = bundle(&after_power_cut(&ops[..at.min(ops.len())], &mut || kept.next().unwrap_or(0)));
        prop_assert!(found.is_empty() || found == whole(&ops), "{:?}", found.keys());
    }
}

/// A disk that fails at the `n`th step.
struct Failing {
    left: RefCell<u32>,
    real: super::disk::RealDisk,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        let mut left = self.left.borrow_mut();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(())
    }
}

impl Disk for Failing {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| self.real.create_dir(path))
    }

    fn create_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.step().and_then(|()| self.real.create_file(path, content))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| self.real.sync_file(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| self.real.sync_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| self.real.rename(from, to))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.real.exists(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.real.remove_dir_all(path)
    }
}

#[test]
fn a_full_disk_at_any_step_leaves_nothing_with_a_bundles_name_that_is_not_whole() {
    let steps = write_recorded().len() as u32;
    for n in 0..=steps {
        let dir = tempfile::tempdir().unwrap();
        let disk = Failing { left: RefCell::new(n), real: super::disk::RealDisk };
        let written = write_on(&disk, dir.path(), &incident(), &contents(), &origin());
        assert_eq!(written.is_ok(), n == steps, "step {n}");
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            // Only the last sync, of the parent, comes after the name.
            assert!(n + 1 >= steps, "{:?} is left after step {n}", entry);
            assert!(super::open(&entry.unwrap().path()).unwrap().verify().unwrap().is_whole());
        }
    }
}

#[test]
fn the_system_calls_come_in_the_order_that_the_promise_needs() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        panic!("this test needs strace: apt install strace");
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("strace");
    let reports = dir.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    let status = std::process::Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "report::crash_tests::writes_one_bundle_where_it_is_told"])
        .env("VMWARD_TEST_REPORTS", &reports)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let calls = std::fs::read_to_string(&log).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|it| it.contains("/reports")).collect();
    let rename = calls.iter().position(|it| it.contains("rename")).expect("a rename");
    let syncs = |part: &[&str], what: &str| {
        part.iter().filter(|it| it.contains("fsync(") && it.contains(what)).count()
    };
    let before = &calls[..rename];
    assert_eq!(syncs(before, "/artifacts/"), 2, "{calls:#?}");
    assert_eq!(syncs(before, "/artifacts>"), 1);
    assert_eq!(syncs(before, "/manifest.json>"), 1);
    assert!(before.last().unwrap().contains(name::UNFINISHED), "the bundle's folder last: {calls:#?}");
    assert_eq!(calls[rename + 1..].len(), 1);
    assert_eq!(syncs(&calls[rename + 1..], "/reports>"), 1);
}

/// What the test above runs under strace. On its own it writes into a folder of its own.
#[test]
fn writes_one_bundle_where_it_is_told() {
    let own = tempfile::tempdir().unwrap();
    let dir = std::env::var_os("VMWARD_TEST_REPORTS").map_or_else(|| own.path().to_owned(), PathBuf::from);
    let made = super::write(&dir, &incident(), &contents(), &origin()).unwrap();
    assert!(super::open(made.path()).unwrap().verify().unwrap().is_whole());
}
