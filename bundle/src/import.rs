//! Takes a packed bundle from a stream that cannot be rewound, checked while it comes.
//!
//! Nothing but the manifest, one chunk and the decompressor's window is held, whatever the stream
//! says of itself. The cost of a bundle that is refused is bounded by [`Limits`] too.

use std::collections::BTreeSet;
use std::io::Read;

use vmward_model::{Digest, Manifest};

use crate::digest::Hasher;
use crate::entries::Entries;
use crate::limits::{Limits, OpenError};
use crate::name;
use crate::tar_entry::Entry;

/// The largest part of an artifact that a [`Receiver`] gets at once.
pub const CHUNK: usize = 64 << 10;

/// Takes what [`import`] reads.
///
/// The calls come in this order: [`Receiver::manifest`] once; then for each distinct content
/// [`Receiver::begin`], [`Receiver::chunk`] as often as needed, [`Receiver::end`]. A content counts
/// from its `end` on, the report only when [`import`] has returned without an error.
pub trait Receiver {
    /// Why something could not be taken.
    type Error;

    /// The manifest, whose promises are within the limits. Its texts come from anybody.
    fn manifest(&mut self, manifest: &Manifest) -> Result<(), Self::Error>;
    /// A content of that many bytes follows, which the manifest names. Not checked yet.
    fn begin(&mut self, name: &Digest, size: u64) -> Result<(), Self::Error>;
    /// The next bytes of it, at most [`CHUNK`].
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The content is complete and is what its name says.
    fn end(&mut self, name: &Digest) -> Result<(), Self::Error>;
}

/// Why a bundle was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError<E> {
    /// It is not what a bundle may be, or the stream broke.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// The receiver gave up.
    #[error("the report could not be taken: {0}")]
    Receiver(E),
}

/// A bundle that was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its manifest.
    pub manifest: Manifest,
    /// Bytes of the stream.
    pub packed: u64,
    /// Bytes that these stood for.
    pub unpacked: u64,
}

/// Reads a packed bundle to its end and gives it to `receiver` piece by piece. The bundle is whole
/// when this returns: every content that the manifest names came once, with the digest and size that
/// it goes by, and nothing else did.
///
/// # Errors
/// At the first thing that is wrong.
pub fn import<T: Receiver>(
    source: impl Read,
    limits: &Limits,
    receiver: &mut T,
) -> Result<Imported, ImportError<T::Error>> {
    let taken = ImportError::Receiver;
    let mut entries = Entries::new(source, limits)?;
    let not_first = || OpenError::Broken(format!("{} is not its first entry", name::MANIFEST));
    let (manifest, sizes) = match entries.next()? {
        Some(Entry::Manifest(_)) => limits.read_manifest(&entries.content()?)?,
        _ => return Err(not_first().into()),
    };
    receiver.manifest(&manifest).map_err(taken)?;
    let mut missing: BTreeSet<&Digest> = sizes.keys().collect();
    let mut room = vec![0; CHUNK];
    while let Some(entry) = entries.next()? {
        let (found, size) = match &entry {
            Entry::Folder => continue,
            Entry::Manifest(_) => return Err(OpenError::Broken("a second manifest".to_owned()).into()),
            Entry::Artifact(found, size) => (found, *size),
        };
        if sizes.get(found) != Some(&size) {
            return Err(OpenError::Mismatch { name: found.clone() }.into());
        }
        if !missing.remove(found) {
            return Err(OpenError::Broken(format!("artifact {found} comes twice")).into());
        }
        receiver.begin(found, size).map_err(taken)?;
        let mut hasher = Hasher::default();
        loop {
            let part = entries.part(&mut room)?;
            if part.is_empty() {
                break;
            }
            hasher.update(part);
            receiver.chunk(part).map_err(taken)?;
        }
        if hasher.finish() != *found {
            return Err(OpenError::Mismatch { name: found.clone() }.into());
        }
        receiver.end(found).map_err(taken)?;
    }
    if let Some(first) = missing.first() {
        return Err(OpenError::NoSuchArtifact((*first).clone()).into());
    }
    let (packed, unpacked) = entries.bytes();
    Ok(Imported { manifest, packed, unpacked })
}
