//! Keeps a folder of reports under its cap: the oldest go first, the newest never.
//!
//! A report goes in two steps: it gets an unfinished name, then it is removed. Whatever moment the
//! agent is killed or the power is cut at, what has a bundle's name is whole, and what has not is
//! removed by the next sweep.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::disk::{Disk, RealDisk};
use super::name;

/// What was done to get under the cap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Names of the reports that went, oldest first.
    pub reports: Vec<String>,
    /// Bytes that they took on disk.
    pub bytes: u64,
    /// Nothing was looked at, because somebody writes a report here just now.
    pub busy: bool,
}

/// One report and what it takes.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    name: String,
    bytes: u64,
}

/// Which reports go first, and who has to be told before one goes.
pub trait Retention {
    /// What has the lower rank goes first; of the same rank, what is older.
    fn rank(&self, name: &str) -> (u8, u64);
    /// This one goes now, unless there is an error: then nothing goes any more.
    ///
    /// # Errors
    /// When it must stay.
    fn let_go(&mut self, name: &str) -> io::Result<()>;
}

/// By age alone.
struct OldestFirst;

impl Retention for OldestFirst {
    fn rank(&self, _: &str) -> (u8, u64) {
        (0, 0)
    }

    fn let_go(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Removes the oldest reports until all that are left take at most `cap` bytes on disk. `newest`, the
/// one that was just written, stays however large it is, and so does what is no report of ours.
///
/// # Errors
/// When the folder cannot be read or a report cannot be removed; what was removed before stays so.
pub fn enforce(dir: &Path, cap: u64, newest: &Path) -> io::Result<Dropped> {
    enforce_by(dir, cap, newest, &mut OldestFirst)
}

/// As [`enforce`], in the order of `order`.
///
/// # Errors
/// When the folder cannot be read, a report cannot be removed or has to stay; what was removed before
/// stays so.
pub fn enforce_by(dir: &Path, cap: u64, newest: &Path, order: &mut dyn Retention) -> io::Result<Dropped> {
    let folder = File::open(dir)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Dropped { busy: true, ..Dropped::default() }),
        Err(TryLockError::Error(err)) => return Err(err),
    }
    let mut dropped = Dropped::default();
    let newest = newest.file_name().unwrap_or_default();
    for it in surplus(reports(dir)?, cap, |name| order.rank(name), |name| newest == name) {
        order.let_go(&it.name)?;
        let path = dir.join(&it.name);
        let unfinished = dir.join(format!("{}{}", name::UNFINISHED, it.name));
        RealDisk.rename(&path, &unfinished)?;
        // Else a power cut could bring the name back and leave half of what it stood for.
        RealDisk.sync_dir(dir)?;
        remove(&unfinished)?;
        dropped.bytes = dropped.bytes.saturating_add(it.bytes);
        dropped.reports.push(it.name);
    }
    Ok(dropped)
}

/// Those that have to go, from all of them.
fn surplus(
    mut all: Vec<Kept>,
    cap: u64,
    rank: impl Fn(&str) -> (u8, u64),
    stays: impl Fn(&str) -> bool,
) -> Vec<Kept> {
    // An incident's id begins with the time at which it was made (UUID version 7, RFC 9562), and a
    // later report of the same incident has the higher number: the names say what is older.
    all.sort_by_key(|it| (rank(&it.name), name::age(&it.name)));
    let mut total = all.iter().fold(0u64, |sum, it| sum.saturating_add(it.bytes));
    let mut gone = Vec::new();
    for it in all.into_iter().filter(|it| !stays(&it.name)) {
        if total <= cap {
            break;
        }
        total = total.saturating_sub(it.bytes);
        gone.push(it);
    }
    gone
}

/// Every finished report, as folder or packed.
fn reports(dir: &Path) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name::age(&name).is_none() {
            continue;
        }
        found.push(Kept { name, bytes: size(&entry.path())? });
    }
    Ok(found)
}

/// What orders reports by age, from the name of one; none for any other name.
pub fn age(name: &str) -> Option<(uuid::Uuid, u32)> {
    name::age(name)
}

/// Names of the finished reports that lie here as folders.
///
/// # Errors
/// When the folder cannot be read.
pub fn folders(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name::age(&name).is_some() && entry.file_type()?.is_dir() {
            found.push(name);
        }
    }
    Ok(found)
}

/// Bytes of a file, or of the files in a bundle's folder and the one folder below it.
///
/// # Errors
/// When something in it cannot be looked at.
pub fn size(path: &Path) -> io::Result<u64> {
    let mut total = 0u64;
    let mut open = vec![(path.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if !meta.is_dir() {
            total = total.saturating_add(meta.len());
        } else if depth < 2 {
            for entry in fs::read_dir(&path)? {
                open.push((entry?.path(), depth + 1));
            }
        }
    }
    Ok(total)
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use uuid::Uuid;
    use vmward_model::IncidentId;

    use super::*;
    use crate::report::test_bundle::{contents, incident, origin};
    use crate::report::{Swept, open, sweep, write};

    /// A report of an incident that was made in that second.
    fn report(dir: &Path, second: u64) -> PathBuf {
        let at = uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000 + second, 0);
        let incident = vmward_model::Incident { id: IncidentId(Uuid::new_v7(at)), ..incident() };
        write(dir, &incident, &contents(), &origin()).unwrap().path().to_owned()
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_never() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<PathBuf> = [3, 1, 2].into_iter().map(|it| report(dir.path(), it)).collect();
        let one = size(&made[0]).unwrap();
        assert_eq!(enforce(dir.path(), 3 * one + 64, &made[0]).unwrap(), Dropped::default());

        let dropped = enforce(dir.path(), 2 * one + 64, &made[0]).unwrap();
        assert_eq!(dropped.reports, [made[1].file_name().unwrap().to_string_lossy()]);
        assert!(!made[1].exists() && made[0].exists() && made[2].exists());

        enforce(dir.path(), 0, &made[0]).unwrap();
        assert!(open(&made[0]).unwrap().verify().unwrap().is_whole(), "the newest stays");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_report_of_ours_stays_and_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let made = report(dir.path(), 1);
        fs::write(dir.path().join("notes.txt"), vec![0; 1 << 20]).unwrap();
        report(dir.path(), 0);
        assert_eq!(enforce(dir.path(), 1 << 20, &made).unwrap(), Dropped::default());
        assert_eq!(enforce(dir.path(), 0, &made).unwrap().reports.len(), 1);
        assert!(dir.path().join("notes.txt").exists());
    }

    #[test]
    fn one_that_was_cut_off_in_its_removal_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let made = report(dir.path(), 1);
        let name = made.file_name().unwrap().to_string_lossy().into_owned();
        fs::rename(&made, dir.path().join(format!("{}{name}", name::UNFINISHED))).unwrap();
        assert_eq!(enforce(dir.path(), 0, &made).unwrap(), Dropped::default());
        assert_eq!(sweep(dir.path()).unwrap(), Swept { removed: 1, busy: false });
    }

    #[test]
    fn nothing_goes_while_somebody_writes() {
        let dir = tempfile::tempdir().unwrap();
        report(dir.path(), 0);
        let made = report(dir.path(), 1);
        let writer = File::open(dir.path()).unwrap();
        writer.lock_shared().unwrap();
        assert!(enforce(dir.path(), 0, &made).unwrap().busy);
        drop(writer);
        assert_eq!(enforce(dir.path(), 0, &made).unwrap().reports.len(), 1);
    }

    proptest! {
        #[test]
        fn just_enough_go(sizes in proptest::collection::vec(0u64..1000, 0..20), cap in 0u64..5000) {
            let name = |n: usize| {
                let at = uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000 + n as u64, 0);
                name::bundle(IncidentId(Uuid::new_v7(at)), 1)
            };
            let all: Vec<Kept> =
                sizes.iter().enumerate().map(|(n, bytes)| Kept { name: name(n), bytes: *bytes }).collect();
            let newest = all.last().map(|it| it.name.clone());
            let gone = surplus(all, cap, |_| (0, 0), |it| newest.as_deref() == Some(it));
            let left = |gone: usize| sizes.iter().skip(gone).sum::<u64>();
            prop_assert_eq!(gone.iter().map(|it| it.bytes).collect::<Vec<_>>(), &sizes[..gone.len()]);
            prop_assert!(left(gone.len()) <= cap || gone.len() + 1 >= sizes.len());
            prop_assert!(gone.is_empty() || left(gone.len() - 1) > cap, "one more than needed went");
        }
    }
}
