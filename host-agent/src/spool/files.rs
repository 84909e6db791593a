//! What the spool asks of a file system, so that tests can give it one that fails or dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::agent::durable;

/// The calls. Each is a step after which the agent may be killed or the power may go.
pub(crate) trait Files: Send {
    /// Makes a folder of ours, where there is none.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The whole content; an error when it is longer than `cap`.
    fn read(&self, path: &Path, cap: u64) -> io::Result<Vec<u8>>;
    /// The names in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a file or replaces its content. Neither is on disk yet.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the content is on disk: fsync(2).
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in a folder are on disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Adds to the end of a file that is there, and returns when that is on disk.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to this length.
    fn cut(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system of this host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealFiles;

impl Files for RealFiles {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        durable::folder(path)
    }

    fn read(&self, path: &Path, cap: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > cap {
            return Err(io::Error::other(format!("it is longer than {cap} bytes")));
        }
        Ok(bytes)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn cut(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
