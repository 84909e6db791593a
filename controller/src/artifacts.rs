//! Artifacts on disk, named by their SHA-256.

use std::path::PathBuf;

use bytes::Bytes;
use vmward_model::Digest;

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
    /// The content is not what its name says.
    #[error("the content of {name} has another digest")]
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
}

/// The folder of artifacts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifacts {}

impl Artifacts {
    /// The whole content, where it is at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not here, too large, or cannot be read.
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Bytes, ArtifactError> {
        let _ = limit;
        Err(ArtifactError::NotFound(digest.clone()))
    }

    /// Keeps a file that lies on the same file system as the data folder, which is taken away. It is
    /// checked against `digest` first and durable when this returns. One that is here already is
    /// not stored twice. Gives its size.
    ///
    /// # Errors
    /// When the content has another digest, or the disk refuses.
    pub async fn keep(&self, digest: &Digest, file: PathBuf) -> Result<u64, ArtifactError> {
        let _ = file;
        Err(ArtifactError::NotFound(digest.clone()))
    }

    /// A new empty folder on the same file system, for work in progress. Whatever is left of it is
    /// swept away at the next start.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn workplace(&self) -> Result<PathBuf, ArtifactError> {
        Err(ArtifactError::Full)
    }
}
