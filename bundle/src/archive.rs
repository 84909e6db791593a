//! Packs a bundle into one `.tar.zst`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::limits::OpenError;
use crate::name;
use crate::reader::Bundle;

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
