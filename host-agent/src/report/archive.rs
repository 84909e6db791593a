//! A bundle packed into one `.tar.zst`: packing, and reading entry by entry within bounds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::limits::{Limits, OpenError};
use super::name;
use super::reader::Bundle;
use super::tar_entry::{self, BLOCK, Entry};

/// The largest window that a frame may ask for: 2^23 bytes. Ours ask for 2^21.
const MAX_WINDOW_LOG: u32 = 23;

/// Packs a bundle into `to`, which must end in `.tar.zst`, and returns when that file is on disk.
/// Every digest is checked on the way. The file appears whole or not at all.
pub fn pack(bundle: &Bundle, to: &Path) -> Result<(), OpenError> {
    let parent = match to.parent() {
        Some(it) if it != Path::new("") => it.to_owned(),
        _ => PathBuf::from("."),
    };
    let file_name = to.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    if !file_name.ends_with(name::PACKED) {
        let why = format!("the name of a packed report ends in {}", name::PACKED);
        return Err(OpenError::NotABundle { path: to.to_owned(), why });
    }
    let unfinished = parent.join(format!("{}{file_name}", name::UNFINISHED));
    let folder = File::open(&parent).map_err(|err| disk("open", &parent, err))?;
    folder.lock_shared().map_err(|err| disk("lock", &parent, err))?;
    let written = write_packed(bundle, &unfinished).and_then(|()| {
        std::fs::rename(&unfinished, to).map_err(|err| disk("rename to its final name", &unfinished, err))?;
        folder.sync_all().map_err(|err| disk("sync", &parent, err))
    });
    if written.is_err()
        && let Err(clean) = std::fs::remove_file(&unfinished)
        && clean.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %unfinished.display(), %clean, "an unfinished report stays until the next sweep");
    }
    written
}

fn disk(what: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Disk { what, path: path.to_owned(), source }
}

fn write_packed(bundle: &Bundle, path: &Path) -> Result<(), OpenError> {
    let write = |err| disk("write", path, err);
    let file = File::create(path).map_err(|err| disk("create", path, err))?;
    let encoder = zstd::stream::write::Encoder::new(file, 0).map_err(write)?;
    let mut tar = tar::Builder::new(encoder);
    append(&mut tar, name::MANIFEST, bundle.manifest_bytes()).map_err(write)?;
    for digest in bundle.digests() {
        append(&mut tar, &name::artifact(digest), &bundle.artifact(digest)?).map_err(write)?;
    }
    let encoder = tar.into_inner().map_err(write)?;
    let file = encoder.finish().map_err(write)?;
    file.sync_all().map_err(|err| disk("sync", path, err))
}

/// Same bundle, same bytes: no times, no owners.
fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}

/// The entries of a packed bundle, one after the other.
pub(super) struct Entries<R: Read> {
    source: R,
    /// Unpacked bytes that may still come.
    budget: u64,
    unpacked_limit: u64,
    entries: usize,
    limits: Limits,
    /// What is left of the current entry, padding included.
    pending: u64,
}

/// Opens a packed bundle.
pub(super) fn entries(path: &Path, limits: &Limits) -> Result<Entries<impl Read>, OpenError> {
    let file = super::reader::open_plain(path)?;
    let packed = file.metadata().map_err(|err| disk("look at", path, err))?.len();
    let mut decoder =
        zstd::stream::read::Decoder::new(file).map_err(|err| OpenError::Broken(err.to_string()))?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(|err| OpenError::Broken(err.to_string()))?;
    let by_ratio = packed.saturating_mul(limits.ratio).saturating_add(limits.free_unpacked);
    let unpacked_limit = limits.unpacked.min(by_ratio);
    Ok(Entries {
        source: decoder,
        budget: unpacked_limit,
        unpacked_limit,
        entries: 0,
        limits: *limits,
        pending: 0,
    })
}

impl<R: Read> Entries<R> {
    /// The next entry, whatever was left of the one before is skipped; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, OpenError> {
        let mut waste = [0u8; 8192];
        while self.pending > 0 {
            let part = usize::try_from(self.pending).unwrap_or(usize::MAX).min(waste.len());
            self.fill(&mut waste[..part])?;
            self.pending -= part as u64;
        }
        self.entries += 1;
        Limits::check("the number of entries", self.entries as u64, self.limits.entries as u64 + 2)?;
        let mut block = [0u8; BLOCK];
        self.fill(&mut block)?;
        let Some(entry) = tar_entry::parse(&block)? else { return Ok(None) };
        match &entry {
            Entry::Manifest(size) => self.limits.check_manifest_size(*size)?,
            Entry::Artifact(_, size) => Limits::check("an artifact's size", *size, self.limits.artifact)?,
            Entry::Folder => {}
        }
        self.pending = entry.size().next_multiple_of(BLOCK as u64);
        Limits::check(
            "the unpacked size",
            self.unpacked_limit - self.budget + self.pending,
            self.unpacked_limit,
        )?;
        Ok(Some(entry))
    }

    /// The content of the entry that [`Entries::next`] just gave.
    pub(super) fn content(&mut self, entry: &Entry) -> Result<Vec<u8>, OpenError> {
        // The size was checked against its bound, which is what may be allocated.
        let mut content = vec![0u8; usize::try_from(entry.size()).unwrap_or(0)];
        self.fill(&mut content)?;
        self.pending -= content.len() as u64;
        Ok(content)
    }

    fn fill(&mut self, part: &mut [u8]) -> Result<(), OpenError> {
        let wanted = part.len() as u64;
        let used = self.unpacked_limit - self.budget;
        Limits::check("the unpacked size", used + wanted, self.unpacked_limit)?;
        self.source
            .read_exact(part)
            .map_err(|err| OpenError::Broken(format!("after {used} bytes: {err}")))?;
        self.budget -= wanted;
        Ok(())
    }
}
