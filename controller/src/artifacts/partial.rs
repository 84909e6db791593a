//! Artifacts while they are being sent: in pieces that go on where they were cut off, or in one.
//!
//! Work on one artifact is done by one caller at a time and goes on to its end even when the peer
//! has gone. What an answer says is there has been synced.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;
use vmward_model::Digest;
use vmward_model::exchange::UploadState;

use super::{ArtifactError, Artifacts, disk};

/// What every partial file counts for beside its bytes, so that many small ones are bounded too.
pub(super) const FILE_COST: u64 = 4096;
/// Pieces in which a whole artifact is written.
const WRITE: usize = 256 << 10;

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It does not begin where the last one ended.
    #[error("{offset} bytes are here, and the next piece begins there")]
    Offset {
        /// Bytes that are here.
        offset: u64,
    },
    /// It goes beyond the size that was said.
    #[error("the piece ends beyond the {size} bytes that the artifact is said to have")]
    Beyond {
        /// The size.
        size: u64,
    },
    /// It is larger than any artifact may be.
    #[error("an artifact of {size} bytes is larger than the {limit} that are taken")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// Too much is half there.
    #[error("the unfinished uploads take {limit} bytes and there is no room for more: finish some first")]
    Crowded {
        /// The bound.
        limit: u64,
    },
    /// The peer stopped in the middle.
    #[error("the piece was cut off: {0}")]
    Cut(String),
    /// The peer sent nothing for too long.
    #[error("the piece did not come in time")]
    Slow,
    /// Another piece of the same artifact is being worked on.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl Artifacts {
    /// How much of an artifact is here.
    ///
    /// # Errors
    /// When the database or the folder cannot be read.
    pub async fn upload_state(&self, digest: &Digest) -> Result<UploadState, ArtifactError> {
        if let Some(size) = self.inner.store.artifact_size(digest).await? {
            return Ok(UploadState { stored: true, offset: size });
        }
        // Only what was checked is renamed there. The database had no room for its row then.
        let whole = self.whole(digest);
        if let Some(size) = disk::run(move || Ok(std::fs::metadata(whole).ok())).await?.map(|it| it.len()) {
            self.inner.store.artifact_stored(digest, size).await?;
            return Ok(UploadState { stored: true, offset: size });
        }
        let path = self.incoming(digest.as_str());
        Ok(UploadState { stored: false, offset: disk::run(move || disk::length(&path)).await? })
    }

    /// Takes a piece that begins at `offset` of an artifact of `size` bytes.
    ///
    /// # Errors
    /// When it is no piece of it, there is no room, or all is there and has another digest.
    pub async fn upload_piece(
        &self,
        digest: &Digest,
        offset: u64,
        size: u64,
        bytes: Bytes,
    ) -> Result<UploadState, UploadError> {
        self.fits(size)?;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= size);
        let end = end.ok_or(UploadError::Beyond { size })?;
        let (this, digest) = (self.clone(), digest.clone());
        finish(async move {
            let guard = this.lock(&digest).await;
            let here = this.upload_state(&digest).await?;
            if here.stored {
                return Ok(here);
            }
            if here.offset != offset {
                return Err(UploadError::Offset { offset: here.offset });
            }
            if bytes.is_empty() && size > 0 {
                return Ok(here);
            }
            let path = this.incoming(digest.as_str());
            let cost = (end - offset).saturating_add(if offset == 0 { FILE_COST } else { 0 });
            this.reserve(cost)?;
            let written = path.clone();
            if let Err(error) = disk::run(move || disk::append(&written, offset, &bytes)).await {
                this.release(cost);
                return Err(error.into());
            }
            if end < size {
                return Ok(UploadState { stored: false, offset: end });
            }
            let kept = this.keep(&digest, path.clone()).await;
            if matches!(kept, Err(ArtifactError::Mismatch { .. })) {
                disk::run(move || disk::remove(&path)).await?;
            }
            let path = this.incoming(digest.as_str());
            if !disk::run(move || Ok(path.exists())).await? {
                this.release(size.saturating_add(FILE_COST));
            }
            let size = kept?;
            drop(guard);
            Ok(UploadState { stored: true, offset: size })
        })
        .await
    }

    /// Takes a whole artifact at once, however large: it goes to a file of its own, so that a slow
    /// peer holds up no other.
    ///
    /// # Errors
    /// When it is cut off, there is no room, or it has another digest; nothing of it is kept then.
    pub async fn upload_whole<E: Into<UploadError>>(
        &self,
        digest: &Digest,
        size: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<UploadState, UploadError> {
        self.fits(size)?;
        let cost = size.saturating_add(FILE_COST);
        self.reserve(cost)?;
        let file =
            Scratch { path: self.incoming(&format!("whole-{}", Uuid::new_v4())), of: self.clone(), cost };
        let mut body = std::pin::pin!(body);
        let (mut held, mut length) = (Vec::new(), 0u64);
        loop {
            let piece = body.next().await.transpose().map_err(Into::into)?;
            let last = piece.is_none();
            held.extend_from_slice(&piece.unwrap_or_default());
            let end = length.saturating_add(held.len() as u64);
            if end > size {
                return Err(UploadError::Beyond { size });
            }
            if last || held.len() >= WRITE {
                let (path, bytes) = (file.path.clone(), std::mem::take(&mut held));
                disk::run(move || disk::append(&path, length, &bytes)).await?;
                length = end;
            }
            if last {
                break;
            }
        }
        if length < size {
            return Err(UploadError::Cut(format!("{length} bytes of {size} came")));
        }
        let (this, digest) = (self.clone(), digest.clone());
        finish(async move {
            let _guard = this.lock(&digest).await;
            let here = this.upload_state(&digest).await?;
            if here.stored {
                return Ok(here);
            }
            this.keep(&digest, file.path.clone()).await?;
            this.forget_partial(&digest, here.offset).await?;
            Ok(UploadState { stored: true, offset: size })
        })
        .await
    }

    /// Takes away the partial file of an artifact. The caller holds its lock.
    pub(super) async fn forget_partial(&self, digest: &Digest, length: u64) -> Result<(), ArtifactError> {
        let path = self.incoming(digest.as_str());
        let there = disk::run(move || {
            let there = path.exists();
            disk::remove(&path).map(|()| there)
        })
        .await?;
        if there {
            self.release(length.saturating_add(FILE_COST));
        }
        Ok(())
    }

    fn fits(&self, size: u64) -> Result<(), UploadError> {
        let limit = self.inner.bounds.artifact;
        if size > limit { Err(UploadError::TooLarge { size, limit }) } else { Ok(()) }
    }

    pub(super) fn reserve(&self, cost: u64) -> Result<(), UploadError> {
        let limit = self.inner.bounds.incoming;
        self.inner
            .incoming
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
                it.checked_add(cost).filter(|sum| *sum <= limit)
            })
            .map(drop)
            .map_err(|_| UploadError::Crowded { limit })
    }

    pub(super) fn release(&self, cost: u64) {
        let less = |it: u64| Some(it.saturating_sub(cost));
        let _ = self.inner.incoming.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits for the right to work on an artifact. There are no more locks than callers.
    pub(super) async fn lock(&self, digest: &Digest) -> Held {
        let lock = {
            let mut locks = self.inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(digest.clone()).or_default())
        };
        let guard = lock.lock_owned().await;
        Held { guard: Some(guard), digest: digest.clone(), of: self.clone() }
    }
}

/// Runs to its end even when nobody waits for it any more.
async fn finish<T: Send + 'static>(
    job: impl Future<Output = Result<T, UploadError>> + Send + 'static,
) -> Result<T, UploadError> {
    let done = tokio::spawn(job).await;
    done.unwrap_or_else(|error| Err(ArtifactError::GivenUp(error.to_string()).into()))
}

/// The right to work on an artifact.
pub(super) struct Held {
    guard: Option<OwnedMutexGuard<()>>,
    digest: Digest,
    of: Artifacts,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut locks = self.of.inner.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Ours was one of the two; the map holds the other.
        if locks.get(&self.digest).is_some_and(|it| Arc::strong_count(it) == 1) {
            locks.remove(&self.digest);
        }
    }
}

/// A file that is gone in the end, unless it was renamed.
struct Scratch {
    path: PathBuf,
    of: Artifacts,
    cost: u64,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // One unlink; where it fails the next start sweeps.
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!("{error}");
        }
        self.of.release(self.cost);
    }
}
