//! The folder of entries.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::{Entry, EntryError};

/// Entries that are kept: a host runs guests of a few distributions.
const MAX_ENTRIES: usize = 48;
/// Entries of one build id that are kept: the honest one and some lies.
const MAX_OF_ONE: usize = 3;
/// Files that are looked at in the folder; it is ours, and has no more than entries.
const MAX_FILES: usize = 4 * MAX_ENTRIES;
/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 20;
const SUFFIX: &str = "lens";

/// Why a file of the folder was ignored, or the folder could not be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file or the folder.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is none of ours, or damaged.
    #[error("{} is ignored", path.display())]
    Entry {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
}

/// Entries of kernels that were looked at, in memory, and the folder that they came from.
#[derive(Debug, Default)]
pub struct Cache {
    folder: Option<PathBuf>,
    entries: Vec<Entry>,
}

impl Cache {
    /// Nothing is known and nothing will be kept.
    pub fn none() -> Self {
        Self::default()
    }

    /// Entries that somebody else read, for a process that may not open files.
    pub fn of(entries: Vec<Entry>) -> Self {
        Self { folder: None, entries }
    }

    /// Reads a folder; one that is not there is empty. What is wrong with a file is told and ends nothing.
    pub fn load(folder: &Path) -> (Self, Vec<CacheError>) {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for (_, path) in files(folder, &mut problems) {
            match read(&path) {
                Ok(entry) => entries.push(entry),
                Err(error) => problems.push(error),
            }
        }
        entries.truncate(MAX_ENTRIES);
        (Self { folder: Some(folder.to_owned()), entries }, problems)
    }

    /// All of them, the youngest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Keeps an entry: its file is there as a whole or not at all. Older ones give way.
    ///
    /// # Errors
    /// [`CacheError::Io`]; what was kept before is still there.
    pub fn keep(&mut self, entry: Entry) -> Result<(), CacheError> {
        if self.entries.contains(&entry) {
            return Ok(());
        }
        if let Some(folder) = self.folder.clone() {
            write(&folder, &entry)?;
            prune(&folder, &entry);
        }
        let (id, hash) = (entry.build_id.clone(), entry.hash());
        self.entries.retain(|it| it.build_id != id || it.hash() != hash);
        self.entries.insert(0, entry);
        self.entries.truncate(MAX_ENTRIES);
        Ok(())
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CacheError {
    let path = path.to_owned();
    |source| CacheError::Io { path, source }
}

fn name(entry: &Entry) -> String {
    format!("{}-{:016x}.{SUFFIX}", entry.build_id, entry.hash())
}

/// Files of the folder with their ages, the youngest first.
fn files(folder: &Path, problems: &mut Vec<CacheError>) -> Vec<(SystemTime, PathBuf)> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(io(folder)(error));
            return Vec::new();
        }
    };
    let mut found: Vec<_> = listed
        .take(MAX_FILES)
        .filter_map(|it| {
            let it = it.ok()?;
            let path = it.path();
            let ours = path.extension().is_some_and(|it| it == SUFFIX);
            let written = it.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            ours.then_some((written, path))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found
}

fn read(path: &Path) -> Result<Entry, CacheError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io(path))?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io(path))?;
    Entry::parse(&bytes).map_err(|source| CacheError::Entry { path: path.to_owned(), source })
}

fn write(folder: &Path, entry: &Entry) -> Result<(), CacheError> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join(name(entry));
    // Two processes may write the same entry: each beside, and the last one to rename wins.
    let beside = folder.join(format!(".{}.{}", name(entry), std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(&entry.to_bytes())?;
        fs::rename(&beside, &path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        io(&path)(error)
    })
}

/// Removes the oldest entries of this build id and of all. What cannot be removed stays.
fn prune(folder: &Path, entry: &Entry) {
    let prefix = format!("{}-", entry.build_id);
    let all = files(folder, &mut Vec::new());
    let same = |path: &Path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&prefix));
    let of_one = all.iter().filter(|it| same(&it.1)).skip(MAX_OF_ONE);
    for (_, path) in of_one.chain(all.iter().skip(MAX_ENTRIES)) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    #[test]
    fn what_was_kept_is_there_for_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lens");
        let (mut cache, problems) = Cache::load(&folder);
        assert!(cache.entries().is_empty() && problems.is_empty());
        cache.keep(entry(1, 0x200)).unwrap();
        cache.keep(entry(2, 0x200)).unwrap();
        cache.keep(entry(2, 0x200)).unwrap();
        let (again, problems) = Cache::load(&folder);
        assert!(problems.is_empty());
        assert_eq!(again.entries().len(), 2);
        assert!(again.entries().contains(&entry(1, 0x200)) && again.entries().contains(&entry(2, 0x200)));
        let left = fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 2, "no file is left beside");
    }

    #[test]
    fn a_damaged_file_is_ignored_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::load(dir.path());
        cache.keep(entry(1, 0x200)).unwrap();
        cache.keep(entry(2, 0x200)).unwrap();
        let path = dir.path().join(name(&entry(1, 0x200)));
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        fs::write(dir.path().join("short.lens"), b"VMW").unwrap();
        fs::write(dir.path().join("README"), b"not ours").unwrap();
        let (again, problems) = Cache::load(dir.path());
        assert_eq!(again.entries(), [entry(2, 0x200)]);
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().any(|it| it.to_string().contains("short.lens is ignored")));
    }

    #[test]
    fn lies_about_one_build_id_give_way_to_each_other_and_not_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::load(dir.path());
        cache.keep(entry(1, 0x200)).unwrap();
        for lie in 0..20 {
            cache.keep(entry(2, 0x300 + lie)).unwrap();
        }
        let (again, _) = Cache::load(dir.path());
        assert!(again.entries().contains(&entry(1, 0x200)));
        assert_eq!(again.entries().len(), 1 + MAX_OF_ONE);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let (mut cache, _) = Cache::load(&file.join("below"));
        assert!(matches!(cache.keep(entry(1, 0x200)), Err(CacheError::Io { .. })));
        Cache::none().keep(entry(1, 0x200)).unwrap();
    }
}
