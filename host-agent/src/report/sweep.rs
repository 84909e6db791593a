//! Removes what killed writers left in a folder of reports.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::name;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leftovers removed.
    pub removed: usize,
    /// Nothing was looked at, because somebody writes a report here just now.
    pub busy: bool,
}

/// Removes every unfinished bundle. Call it at start; it leaves everything alone while another
/// process writes. Finished bundles are never touched.
pub fn sweep(dir: &Path) -> io::Result<Swept> {
    let folder = File::open(dir)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Swept { removed: 0, busy: true }),
        Err(TryLockError::Error(err)) => return Err(err),
    }
    let mut swept = Swept::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(name::UNFINISHED.as_bytes()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
        swept.removed += 1;
    }
    Ok(swept)
}
