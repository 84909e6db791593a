//! What a reader of bundles accepts, and how it says no.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use vmward_model::{Digest, FORMAT, Manifest};

use crate::name;
use crate::parts::json_parts;

/// Bounds on a bundle that may come from anybody. Reading never holds more than a manifest, one
/// artifact and the decompressor's window (8 MiB) in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the manifest.
    pub manifest: u64,
    /// Values in the manifest ([`crate::json_parts`]).
    pub parts: u64,
    /// The same in the case, which is read as a whole.
    pub case_parts: u64,
    /// Bytes of one artifact.
    pub artifact: u64,
    /// Bytes of everything unpacked.
    pub unpacked: u64,
    /// Files and folders.
    pub entries: usize,
    /// Unpacked bytes that each packed byte may stand for, beyond the first `free_unpacked`.
    pub ratio: u64,
    /// Unpacked bytes that are accepted whatever the ratio: a console flood packs well.
    pub free_unpacked: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest: 4 * MIB,
            parts: 200_000,
            case_parts: 400_000,
            artifact: 32 * MIB,
            unpacked: 512 * MIB,
            entries: 4096,
            ratio: 100,
            free_unpacked: 64 * MIB,
        }
    }
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Neither a folder with a manifest nor a packed bundle.
    #[error("{path} is not a report: {why}", path = path.display())]
    NotABundle {
        /// What was opened.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer program in a form that this one would misread.
    #[error("the report is of format {found}, this program reads up to {FORMAT}: use a newer vmward")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A bound was passed.
    #[error("refused: {what} is {found}, more than the {limit} allowed")]
    OverLimit {
        /// What is too large.
        what: &'static str,
        /// How large it is, at least.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// An entry that no bundle has.
    #[error("refused: unexpected entry {name:?}")]
    Unexpected {
        /// Its name, shortened, invalid bytes replaced.
        name: String,
    },
    /// The stream that it came from broke.
    #[error("the report could not be read to its end: {0}")]
    Source(io::Error),
    /// The archive breaks its own rules.
    #[error("refused: broken archive: {0}")]
    Broken(String),
    /// The manifest does not name this content.
    #[error("the report has no artifact {0}")]
    NoSuchArtifact(Digest),
    /// Content that is not what its name says.
    #[error("refused: artifact {name} does not match its digest or size")]
    Mismatch {
        /// The name that it goes by.
        name: Digest,
    },
}

/// The parser quotes what it did not expect, in any length and with line breaks.
pub(crate) fn said(err: &serde_json::Error) -> String {
    let text: String = err.to_string().chars().take(300).collect();
    // Control and direction characters among them.
    text.escape_debug().to_string()
}

impl Limits {
    pub(crate) fn check(what: &'static str, found: u64, limit: u64) -> Result<(), OpenError> {
        if found > limit { Err(OpenError::OverLimit { what, found, limit }) } else { Ok(()) }
    }

    /// Checks the size that a manifest has or will have.
    pub fn check_manifest_size(&self, size: u64) -> Result<(), OpenError> {
        Limits::check("the manifest's size", size, self.manifest)
    }

    /// Reads a manifest that is not too large, and checks what it promises. Gives each distinct content
    /// with its size.
    pub(crate) fn read_manifest(&self, bytes: &[u8]) -> Result<(Manifest, BTreeMap<Digest, u64>), OpenError> {
        Limits::check("the number of values in the manifest", json_parts(bytes), self.parts)?;
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|err| OpenError::Broken(format!("{}: {}", name::MANIFEST, said(&err))))?;
        let sizes = self.check_listed(&manifest)?;
        Ok((manifest, sizes))
    }

    /// Checks what the manifest promises, and returns each distinct content with its size.
    pub fn check_listed(&self, manifest: &Manifest) -> Result<BTreeMap<Digest, u64>, OpenError> {
        if manifest.format > FORMAT {
            return Err(OpenError::Newer { found: manifest.format });
        }
        Limits::check("the number of artifacts", manifest.artifacts.len() as u64, self.entries as u64)?;
        let mut sizes = BTreeMap::new();
        let mut total = 0u64;
        for it in &manifest.artifacts {
            Limits::check("an artifact's size", it.size, self.artifact)?;
            match sizes.insert(it.sha256.clone(), it.size) {
                None => total = total.saturating_add(it.size),
                Some(size) if size == it.size => {}
                Some(_) => return Err(OpenError::Mismatch { name: it.sha256.clone() }),
            }
        }
        Limits::check("the unpacked size", total, self.unpacked)?;
        Ok(sizes)
    }
}
