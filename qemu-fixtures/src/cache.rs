//! The folder where everything that is slow to get or to build is kept: kernels, the patient, images.
//!
//! An entry appears whole or not at all: it is made under a temporary name and renamed into place.
//! A lock file beside each entry keeps two processes from making the same thing twice.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Names the cache folder; without it `~/.cache/vmward-fixtures` is used.
pub const DIR_VARIABLE: &str = "VMWARD_FIXTURES_DIR";

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens (and creates) the folder named by [`DIR_VARIABLE`], else `~/.cache/vmward-fixtures`.
    ///
    /// # Errors
    /// When neither the variable nor `HOME` is set, or the folder cannot be created.
    pub fn open() -> Result<Self> {
        if let Some(dir) = std::env::var_os(DIR_VARIABLE) {
            return Self::at(PathBuf::from(dir));
        }
        let Some(home) = std::env::var_os("HOME") else {
            bail!("no place for the fixtures cache: set {DIR_VARIABLE} or HOME");
        };
        Self::at(PathBuf::from(home).join(".cache/vmward-fixtures"))
    }

    /// Opens (and creates) the cache at `root`.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for dir in ["tmp", "locks"] {
            fs::create_dir_all(root.join(dir))
                .with_context(|| format!("cannot create the fixtures cache at {}", root.display()))?;
        }
        // Linker and module builds change folder, so paths handed out must not be relative.
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    /// Where the cache is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of entry `key`, made by `make` when it is not there yet.
    ///
    /// `make` gets a path that does not exist and creates a file or a folder there. It runs at most
    /// once at a time over all processes.
    ///
    /// # Errors
    /// What `make` says; nothing is left behind then.
    pub fn entry(&self, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.root.join(key);
        if path.exists() {
            return Ok(path);
        }
        let _guard = self.lock(key)?;
        if path.exists() {
            return Ok(path);
        }
        // Whoever holds the lock owns this name; what a killed process left there is thrown away.
        let tmp = self.root.join("tmp").join(key.replace('/', "-"));
        remove(&tmp)?;
        if let Err(error) = make(&tmp).and_then(|()| publish(&tmp, &path)) {
            // The first error is the one worth telling.
            drop(remove(&tmp));
            return Err(error);
        }
        Ok(path)
    }

    /// Waits for the exclusive right to `name`, over all processes that use this cache.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join("locks").join(name.replace('/', "-"));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}

fn publish(tmp: &Path, path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::open(tmp).and_then(|it| it.sync_all()).with_context(|| format!("nothing at {}", tmp.display()))?;
    fs::rename(tmp, path).with_context(|| format!("cannot put {} into place", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// SHA-256 of `bytes` in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells the person at the terminal about something that went another way than planned.
pub(crate) fn notice(text: &str) {
    // A closed stderr is no reason to fail a build of fixtures.
    drop(writeln!(std::io::stderr(), "notice: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let first = cache.entry("a/b", |path| Ok(fs::write(path, "one")?)).unwrap();
        let second = cache.entry("a/b", |_| bail!("made twice")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second).unwrap(), "one");
    }

    #[test]
    fn a_failed_entry_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let result = cache.entry("half", |path| {
            fs::create_dir(path)?;
            fs::write(path.join("part"), "x")?;
            bail!("the network went away")
        });
        assert_eq!(result.unwrap_err().to_string(), "the network went away");
        assert!(!cache.root().join("half").exists());
        assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn sha256_agrees_with_the_standard() {
        // FIPS 180-4 example: the digest of "abc".
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
