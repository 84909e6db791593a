//! The guest's RAM as a sparse file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Looked at and written at once. A piece of zeros becomes a hole.
const PIECE: u64 = 64 << 10;

/// The file that backs the RAM of QEMU process `pid`, by a descriptor of its own: reading it there makes the
/// guest no larger, which reading through a mapping would.
pub(super) fn memfd(pid: u32) -> Result<PathBuf> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        // One that was closed meanwhile is not it.
        let Ok(target) = std::fs::read_link(&path) else { continue };
        if target.to_string_lossy().starts_with("/memfd:memory-backend-memfd") {
            return Ok(path);
        }
    }
    bail!("QEMU process {pid} has no RAM in a memfd")
}

/// Copies what is populated.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    let size = source.metadata()?.len();
    let target = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    target.set_len(size)?;
    let mut piece = vec![0; usize::try_from(PIECE)?];
    let zeros = piece.clone();
    let mut at = 0;
    while let Some(data) = seek(&source, at, Whence::SeekData)? {
        let end = seek(&source, data, Whence::SeekHole)?.unwrap_or(size).min(size);
        at = data;
        while at < end {
            // Up to the next multiple of the size, so that holes come out whole.
            let len = usize::try_from((PIECE - at % PIECE).min(end - at))?;
            source.read_exact_at(&mut piece[..len], at).context("cannot read the guest's RAM")?;
            if piece[..len] != zeros[..len] {
                target.write_all_at(&piece[..len], at).context("cannot write the image")?;
            }
            at += len as u64;
        }
    }
    Ok(())
}

/// The next data or hole at or after `at`; `None` behind the last.
fn seek(file: &File, at: u64, whence: Whence) -> Result<Option<u64>> {
    match lseek(file, i64::try_from(at)?, whence) {
        Ok(found) => Ok(Some(u64::try_from(found)?)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno).context("cannot look for what is populated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"early", 0x1000).unwrap();
        file.write_all_at(b"late", (64 << 20) - 4).unwrap();
        file.write_all_at(&[0; 1 << 20], 8 << 20).unwrap();
        copy(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        assert!(to.metadata().unwrap().blocks() * 512 <= 4 * PIECE);
    }
}
