//! Artifacts on disk, named by their SHA-256. In the data folder:
//!
//! ```text
//! artifacts/ab/abcd...   whole, checked, synced; each has a row in the database
//! incoming/abcd...       the beginning of one that is being sent
//! work/                  work in progress, swept away at start
//! ```
//!
//! A file is synced, then renamed, then its row is written: a crash leaves at worst a whole file
//! without a row, which [`sweep`] adopts at the next start.

mod disk;
mod partial;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt as _;
use object_store::local::LocalFileSystem;
use uuid::Uuid;
use vmward_model::Digest;

use crate::store::{Store, StoreError};

pub use partial::UploadError;
pub use sweep::Swept;

/// Why an artifact could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The disk is full, or a quota is.
    #[error("no room left for artifacts")]
    Full,
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The object store failed.
    #[error("the artifact store: {0}")]
    Objects(#[from] object_store::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content is not what its name says.
    #[error("the content that was sent as {name} has another digest")]
    Mismatch {
        /// The name that it goes by.
        name: Digest,
    },
    /// Nothing is stored under this name.
    #[error("there is no artifact {0}")]
    NotFound(Digest),
    /// Larger than the caller wants to read.
    #[error("artifact {name} has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// Which.
        name: Digest,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// Work was given up.
    #[error("work on artifacts was given up: {0}")]
    GivenUp(String),
}

/// Bounds on what is half there.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one artifact.
    pub artifact: u64,
    /// Bytes of all that are not whole.
    pub incoming: u64,
    /// How long one that nobody sends on is kept.
    pub age: Duration,
}

/// The folder of artifacts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifacts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    objects: LocalFileSystem,
    store: Store,
    bounds: Bounds,
    /// One lock for each artifact that is being worked on, and no more.
    locks: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Bytes that all partial files may come to take.
    incoming: AtomicU64,
}

const ARTIFACTS: &str = "artifacts";
const INCOMING: &str = "incoming";
const WORK: &str = "work";

impl Artifacts {
    /// Opens the artifacts of a data folder, makes it where it is not there, and brings files and
    /// database into agreement. One program at a time.
    ///
    /// # Errors
    /// When folder or database cannot be read.
    pub async fn open(
        folder: &Path,
        store: Store,
        bounds: Bounds,
    ) -> Result<(Artifacts, Swept), ArtifactError> {
        for name in [ARTIFACTS, INCOMING, WORK] {
            disk::folder(&folder.join(name))?;
        }
        let folder = std::fs::canonicalize(folder).map_err(|source| disk::error("find", folder, source))?;
        // Every rename syncs both folders, so that what was renamed stays renamed.
        let objects = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
        let artifacts = Artifacts {
            inner: Arc::new(Inner {
                folder,
                objects,
                store,
                bounds,
                locks: Mutex::new(HashMap::new()),
                incoming: AtomicU64::new(0),
            }),
        };
        let swept = sweep::at_start(&artifacts).await?;
        Ok((artifacts, swept))
    }

    /// The whole content, where it is at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not here, too large, or cannot be read.
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes, ArtifactError> {
        let found = self.get(digest).await?;
        if found.meta.size > limit {
            return Err(ArtifactError::TooLarge { name: digest.clone(), size: found.meta.size, limit });
        }
        Ok(found.bytes().await?)
    }

    /// Size and content, piece by piece.
    ///
    /// # Errors
    /// When it is not here or cannot be opened.
    pub async fn stream(
        &self,
        digest: &Digest,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, ArtifactError>>), ArtifactError> {
        let found = self.get(digest).await?;
        Ok((found.meta.size, found.into_stream().map(|it| it.map_err(ArtifactError::from)).boxed()))
    }

    async fn get(&self, digest: &Digest) -> Result<object_store::GetResult, ArtifactError> {
        match self.inner.objects.get(&object(digest)).await {
            Ok(it) => Ok(it),
            Err(object_store::Error::NotFound { .. }) => Err(ArtifactError::NotFound(digest.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a file that lies in a [`Artifacts::workplace`], which is taken away. It is checked against
    /// `digest` first and durable when this returns. One that is here already is not stored twice.
    /// Gives its size.
    ///
    /// # Errors
    /// When the content has another digest (the file is then still there), or the disk refuses.
    pub async fn keep(&self, digest: &Digest, file: PathBuf) -> Result<u64, ArtifactError> {
        let (expected, checked) = (digest.clone(), file.clone());
        let size = disk::run(move || {
            let (found, size) = disk::checked(&checked)?;
            if found == expected { Ok(size) } else { Err(ArtifactError::Mismatch { name: expected }) }
        })
        .await?;
        self.adopt(digest, &file, size).await?;
        Ok(size)
    }

    /// Renames a file that was checked and synced into place, then writes its row.
    async fn adopt(&self, digest: &Digest, file: &Path, size: u64) -> Result<(), ArtifactError> {
        let from = file
            .strip_prefix(&self.inner.folder)
            .ok()
            .and_then(|it| it.to_str())
            .and_then(|it| object_store::path::Path::parse(it).ok())
            .ok_or_else(|| {
                let outside = std::io::Error::other("not inside the data folder");
                disk::error("keep", file, outside)
            })?;
        self.inner.objects.rename(&from, &object(digest)).await?;
        self.inner.store.artifact_stored(digest, size).await?;
        Ok(())
    }

    /// A new empty folder on the same file system, for work in progress. Whoever asks for it takes it
    /// away; what is left is swept away at the next start.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn workplace(&self) -> Result<PathBuf, ArtifactError> {
        let path = self.inner.folder.join(WORK).join(Uuid::new_v4().to_string());
        let made = path.clone();
        disk::run(move || disk::folder(&made)).await?;
        Ok(path)
    }

    /// Whether the folder can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn ready(&self) -> Result<(), ArtifactError> {
        let path = self.inner.folder.join(WORK).join(format!("ready-{}", Uuid::new_v4()));
        disk::run(move || {
            std::fs::write(&path, b"ready").map_err(|source| disk::error("write", &path, source))?;
            std::fs::remove_file(&path).map_err(|source| disk::error("remove", &path, source))
        })
        .await
    }

    /// Bytes that partial files take.
    pub fn incoming_bytes(&self) -> u64 {
        self.inner.incoming.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn whole(&self, digest: &Digest) -> PathBuf {
        self.inner.folder.join(place(digest))
    }

    fn incoming(&self, name: &str) -> PathBuf {
        self.inner.folder.join(INCOMING).join(name)
    }
}

/// Where an artifact lies in a data folder.
pub fn place(digest: &Digest) -> PathBuf {
    PathBuf::from(object(digest).as_ref())
}

fn object(digest: &Digest) -> object_store::path::Path {
    let name = digest.as_str();
    object_store::path::Path::from_iter([ARTIFACTS, name.get(..2).unwrap_or_default(), name])
}
