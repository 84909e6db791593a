//! File operations of the artifact folder. They block, so they run beside the reactor.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use vmward_model::Digest;

use super::ArtifactError;

/// A failed file operation; a full disk is told apart, being the one that goes away by itself.
pub(super) fn error(what: &'static str, path: &Path, source: std::io::Error) -> ArtifactError {
    match source.kind() {
        // A limit on file sizes is a full disk by another name.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => ArtifactError::Full,
        _ => ArtifactError::Disk { what, path: path.to_owned(), source },
    }
}

/// Runs what blocks. It runs to its end even when nobody waits for it any more.
pub(super) async fn run<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    tokio::task::spawn_blocking(job).await.map_err(|error| ArtifactError::GivenUp(error.to_string()))?
}

/// Makes a folder of ours (0700, with its parents) if it is not there.
pub(super) fn folder(path: &Path) -> Result<(), ArtifactError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|it| error("make", path, it))
}

/// Opens a file of ours (0600) for writing, and makes it where it is not there.
pub(super) fn open(path: &Path) -> Result<File, ArtifactError> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|it| error("open", path, it))
}

/// Length of a file; zero where there is none.
pub(super) fn length(path: &Path) -> Result<u64, ArtifactError> {
    match std::fs::metadata(path) {
        Ok(it) => Ok(it.len()),
        Err(it) if it.kind() == ErrorKind::NotFound => Ok(0),
        Err(it) => Err(error("look at", path, it)),
    }
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> Result<(), ArtifactError> {
    match std::fs::remove_file(path) {
        Err(it) if it.kind() != ErrorKind::NotFound => Err(error("remove", path, it)),
        _ => Ok(()),
    }
}

/// Puts `bytes` at the end of a file of `length` bytes and syncs it. Where that fails the file is as
/// long as before.
pub(super) fn append(path: &Path, length: u64, bytes: &[u8]) -> Result<(), ArtifactError> {
    let mut file = open(path)?;
    let written = file
        .seek(SeekFrom::Start(length))
        .and_then(|_| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| match (length, path.parent()) {
            // Its name has to last as well.
            (0, Some(parent)) => File::open(parent)?.sync_all(),
            _ => Ok(()),
        });
    written.map_err(|it| {
        let undone = if length == 0 { std::fs::remove_file(path) } else { file.set_len(length) };
        if let Err(undone) = undone {
            tracing::warn!("cannot undo a write to {}: {undone}", path.display());
        }
        error("write", path, it)
    })
}

/// Digest and size of a file, which is synced.
pub(super) fn checked(path: &Path) -> Result<(Digest, u64), ArtifactError> {
    let about = |it| error("read", path, it);
    // A link would be renamed in place of what was hashed.
    let kind = std::fs::symlink_metadata(path).map_err(about)?;
    if !kind.is_file() {
        return Err(about(std::io::Error::other("not a file")));
    }
    let mut file = File::open(path).map_err(about)?;
    let (mut hash, mut size) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = file.read(&mut buffer).map_err(about)?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        size = size.saturating_add(n as u64);
    }
    file.sync_all().map_err(|it| error("sync", path, it))?;
    Ok((Digest::from_bytes(&hash.finalize().into()), size))
}
