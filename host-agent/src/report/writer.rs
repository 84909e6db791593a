//! Writes a bundle so that it is whole or not there.
//!
//! The order is what makes it so: every file is written and synced in a folder with an unfinished
//! name, then the folders are synced, then the folder gets its final name, then the parent is
//! synced. Before the rename nothing has a bundle's name; after it everything in the folder is on
//! disk; once [`write`] has returned, the name is too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use vmward_bundle::digest;
use vmward_model::{Artifact, Digest, FORMAT, Incident, Manifest, Provenance, Sensitivity, Stamp};

use super::disk::{Disk, RealDisk};
use super::{Limits, name};

/// Reports of one incident that may lie beside each other.
const MAX_REPORTS: u32 = 1000;

/// One artifact before it has a name.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it is; see [`Artifact::kind`].
    pub kind: String,
    /// Media type.
    pub media_type: String,
    /// Who may see it.
    pub sensitivity: Sensitivity,
    /// How it was got.
    pub provenance: Provenance,
    /// Whether the capture's size cap cut it.
    pub truncated: bool,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Who writes, where and when.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Program and version.
    pub writer: String,
    /// The host's name.
    pub host: String,
    /// This moment.
    pub written: Stamp,
}

/// A bundle on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundlePath(PathBuf);

impl BundlePath {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Why no bundle was written. Nothing with a bundle's name is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}; check space and permissions of the report folder", path = path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The manifest could not be put into words.
    #[error("cannot serialise the manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// A reader would refuse this bundle.
    #[error("the report would be refused by readers: {0}")]
    TooLarge(String),
    /// The incident has as many reports as may lie beside each other.
    #[error("incident {0} already has {MAX_REPORTS} reports here; move some away")]
    TooMany(vmward_model::IncidentId),
}

/// Writes the report of an incident into a folder of reports, which must exist, and returns when
/// it is on disk.
pub fn write(
    dir: &Path,
    incident: &Incident,
    artifacts: &[Content],
    origin: &Origin,
) -> Result<BundlePath, WriteError> {
    let step = |what, source| WriteError::Disk { what, path: dir.to_owned(), source };
    // Shared with other writers; a sweep wants it alone, so that it never removes what is in work.
    let folder = File::open(dir).map_err(|err| step("open", err))?;
    folder.lock_shared().map_err(|err| step("lock", err))?;
    write_on(&RealDisk, dir, incident, artifacts, origin)
}

/// As [`write`], on any [`Disk`], without the lock that keeps a sweep away.
pub fn write_on(
    disk: &impl Disk,
    dir: &Path,
    incident: &Incident,
    artifacts: &[Content],
    origin: &Origin,
) -> Result<BundlePath, WriteError> {
    let (manifest, files) = describe(incident, artifacts, origin)?;
    let (unfinished, target) = free_names(disk, dir, incident)?;
    let written = fill(disk, &unfinished, &manifest, &files).and_then(|()| {
        step(disk.rename(&unfinished, &target), "rename to its final name", &unfinished)?;
        step(disk.sync_dir(dir), "sync", dir)
    });
    if let Err(err) = written {
        // Best effort: what stays has an unfinished name, and the next sweep removes it.
        if let Err(clean) = disk.remove_dir_all(&unfinished)
            && clean.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %unfinished.display(), %clean, "an unfinished report stays until the next sweep");
        }
        return Err(err);
    }
    Ok(BundlePath(target))
}

fn step<T>(result: io::Result<T>, what: &'static str, path: &Path) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Disk { what, path: path.to_owned(), source })
}

type Files<'a> = Vec<(Digest, &'a [u8])>;

/// The manifest's bytes, and each distinct content once.
fn describe<'a>(
    incident: &Incident,
    artifacts: &'a [Content],
    origin: &Origin,
) -> Result<(Vec<u8>, Files<'a>), WriteError> {
    let mut seen = BTreeSet::new();
    let mut files = Files::new();
    let mut listed = Vec::with_capacity(artifacts.len());
    for it in artifacts {
        let sha256 = digest(&it.bytes);
        if seen.insert(sha256.clone()) {
            files.push((sha256.clone(), &it.bytes));
        }
        listed.push(Artifact {
            kind: it.kind.clone(),
            media_type: it.media_type.clone(),
            sha256,
            size: it.bytes.len() as u64,
            sensitivity: it.sensitivity,
            provenance: it.provenance.clone(),
            truncated: it.truncated,
        });
    }
    let manifest = Manifest {
        format: FORMAT,
        writer: origin.writer.clone(),
        written: origin.written,
        host: origin.host.clone(),
        incident: incident.clone(),
        artifacts: listed,
    };
    let mut bytes = serde_json::to_vec_pretty(&manifest)?;
    bytes.push(b'\n');
    let limits = Limits::default();
    limits.check_manifest_size(bytes.len() as u64).map_err(|err| WriteError::TooLarge(err.to_string()))?;
    limits.check_listed(&manifest).map_err(|err| WriteError::TooLarge(err.to_string()))?;
    Ok((bytes, files))
}

fn free_names(disk: &impl Disk, dir: &Path, incident: &Incident) -> Result<(PathBuf, PathBuf), WriteError> {
    for n in 1..=MAX_REPORTS {
        let target = dir.join(name::bundle(incident.id, n));
        if step(disk.exists(&target), "look for", &target)? {
            continue;
        }
        let unfinished = dir.join(format!("{}{}", name::UNFINISHED, name::bundle(incident.id, n)));
        match disk.create_dir(&unfinished) {
            Ok(()) => return Ok((unfinished, target)),
            // Somebody else writes this number just now, or died at it.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(err) => return step(Err(err), "create", &unfinished),
        }
    }
    Err(WriteError::TooMany(incident.id))
}

fn fill(disk: &impl Disk, folder: &Path, manifest: &[u8], files: &Files<'_>) -> Result<(), WriteError> {
    let write_file = |path: &Path, bytes: &[u8]| {
        step(disk.create_file(path, bytes), "write", path)?;
        step(disk.sync_file(path), "sync", path)
    };
    let artifacts = folder.join(name::ARTIFACTS);
    step(disk.create_dir(&artifacts), "create", &artifacts)?;
    for (digest, bytes) in files {
        write_file(&folder.join(name::artifact(digest)), bytes)?;
    }
    step(disk.sync_dir(&artifacts), "sync", &artifacts)?;
    write_file(&folder.join(name::MANIFEST), manifest)?;
    step(disk.sync_dir(folder), "sync", folder)
}
