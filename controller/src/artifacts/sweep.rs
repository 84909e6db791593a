//! Brings files and database into agreement at start, and takes away what nobody sends on.

use std::path::Path;
use std::time::SystemTime;

use futures_util::TryStreamExt as _;
use object_store::ObjectStore as _;
use vmward_model::Digest;

use super::partial::FILE_COST;
use super::{ARTIFACTS, ArtifactError, Artifacts, WORK, disk, object, place};

/// Rows that are read at once.
const ROWS: u32 = 1000;

/// What was found at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Whole files without a row: a crash came between. They were adopted.
    pub adopted: u64,
    /// Files that are not what their name says. They were removed.
    pub removed: u64,
    /// Rows whose file is gone or has another size. They were removed: the next agent that has the
    /// artifact sends it again.
    pub lost: u64,
    /// Partial uploads that can be gone on with.
    pub partial: u64,
}

pub(super) async fn at_start(all: &Artifacts) -> Result<Swept, ArtifactError> {
    let mut swept = Swept::default();
    let (work, incoming) = (all.inner.folder.join(WORK), all.incoming(""));
    let partials = disk::run(move || {
        empty(&work)?;
        partials(&incoming)
    })
    .await?;
    for (digest, size, _) in partials {
        if all.inner.store.artifact_size(&digest).await?.is_some() {
            let path = all.incoming(digest.as_str());
            disk::run(move || disk::remove(&path)).await?;
            continue;
        }
        swept.partial += 1;
        let cost = size.saturating_add(FILE_COST);
        // What is there counts even where the bound was lowered since.
        all.inner.incoming.fetch_add(cost, std::sync::atomic::Ordering::Relaxed);
    }
    rows_without_file(all, &mut swept).await?;
    files_without_row(all, &mut swept).await?;
    Ok(swept)
}

async fn rows_without_file(all: &Artifacts, swept: &mut Swept) -> Result<(), ArtifactError> {
    let mut after = String::new();
    loop {
        let rows = all.inner.store.artifacts_after(&after, ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        last.as_str().clone_into(&mut after);
        let folder = all.inner.folder.clone();
        let lost = disk::run(move || {
            let gone = |digest: &Digest, size: u64| {
                let path = folder.join(place(digest));
                !std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() == size)
            };
            Ok(rows.into_iter().filter(|(digest, size)| gone(digest, *size)).collect::<Vec<_>>())
        })
        .await?;
        for (digest, _) in lost {
            tracing::error!("artifact {digest} is in the database, but its file is gone or has another size");
            all.inner.store.artifact_lost(&digest).await?;
            swept.lost += 1;
        }
    }
}

async fn files_without_row(all: &Artifacts, swept: &mut Swept) -> Result<(), ArtifactError> {
    let prefix = object_store::path::Path::from(ARTIFACTS);
    let mut files = all.inner.objects.list(Some(&prefix));
    while let Some(file) = files.try_next().await? {
        let name = file.location.filename().unwrap_or_default();
        let Ok(digest) = name.parse::<Digest>() else {
            tracing::warn!("{} is none of ours and is left alone", file.location);
            continue;
        };
        if all.inner.store.artifact_size(&digest).await?.is_some() {
            continue;
        }
        let path = all.inner.folder.join(file.location.as_ref());
        let (found, size) = {
            let path = path.clone();
            disk::run(move || disk::checked(&path)).await?
        };
        if found == digest && file.location == object(&digest) {
            all.inner.store.artifact_stored(&digest, size).await?;
            swept.adopted += 1;
        } else {
            tracing::error!("{} is not what its name says and is removed", file.location);
            disk::run(move || disk::remove(&path)).await?;
            swept.removed += 1;
        }
    }
    Ok(())
}

impl Artifacts {
    /// Takes away partial uploads that nobody has sent on for a while; gives how many.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn sweep_partials(&self, now: SystemTime) -> Result<u64, ArtifactError> {
        let old = |at: SystemTime| now.duration_since(at).is_ok_and(|it| it > self.inner.bounds.age);
        let folder = self.incoming("");
        let found = disk::run(move || listed(&folder)).await?;
        let mut swept = 0;
        for (digest, _, at) in found {
            if !old(at) {
                continue;
            }
            let _guard = self.lock(&digest).await;
            let path = self.incoming(digest.as_str());
            // It may have grown while we waited.
            let seen = disk::run(move || Ok(std::fs::metadata(&path).ok())).await?;
            let Some(seen) = seen.filter(|it| it.modified().is_ok_and(old)) else { continue };
            self.forget_partial(&digest, seen.len()).await?;
            swept += 1;
        }
        Ok(swept)
    }
}

/// Takes away all that is in a folder.
fn empty(folder: &Path) -> Result<(), ArtifactError> {
    for entry in std::fs::read_dir(folder).map_err(|it| disk::error("read", folder, it))? {
        let path = entry.map_err(|it| disk::error("read", folder, it))?.path();
        let real = std::fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir());
        let gone = if real { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.map_err(|it| disk::error("remove", &path, it))?;
    }
    Ok(())
}

/// Partial files with size and age, once everything else in the folder was taken away.
fn partials(folder: &Path) -> Result<Vec<(Digest, u64, SystemTime)>, ArtifactError> {
    for entry in std::fs::read_dir(folder).map_err(|it| disk::error("read", folder, it))? {
        let path = entry.map_err(|it| disk::error("read", folder, it))?.path();
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        if name.parse::<Digest>().is_err() {
            disk::remove(&path)?;
        }
    }
    listed(folder)
}

fn listed(folder: &Path) -> Result<Vec<(Digest, u64, SystemTime)>, ArtifactError> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|it| disk::error("read", folder, it))? {
        let entry = entry.map_err(|it| disk::error("read", folder, it))?;
        let Some(digest) = entry.file_name().to_str().and_then(|it| it.parse::<Digest>().ok()) else {
            continue;
        };
        // It may have become whole meanwhile.
        let Ok(about) = entry.metadata() else { continue };
        all.push((digest, about.len(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
    }
    Ok(all)
}
