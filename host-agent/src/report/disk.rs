//! The file operations that a bundle is written with.
//!
//! A trait, so that the writer's promise can be checked against a disk that forgets everything
//! that was not synced (see `crash_tests`), and not only against one that never does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What the writer asks of a file system. Each call is one step after which the power may go.
pub trait Disk {
    /// Makes one folder; its parent is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that was not there, with this content, which is not on disk yet.
    fn create_file(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Returns when the file's content is on disk: fsync(2).
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Returns when the folder's entries are on disk: fsync(2) on a folder.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a folder or file its final name: rename(2) within one file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Whether something has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Removes a folder with all that is in it, after a failure.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
}

/// The file system of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().mode(0o750).create(path)
    }

    fn create_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        file.write_all(content)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // fsync(2) works on the file, not on the descriptor: what another descriptor wrote counts.
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}
