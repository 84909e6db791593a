//! The readers of bundles behind one door: for the fuzz target `bundle` and the replay of its corpus.
//! Nothing here is of use otherwise.

use std::fs;
use std::io;
use std::path::Path;

use vmward_model::{Digest, Manifest};

use crate::digest::digest;
use crate::import::{Receiver, import};
use crate::limits::Limits;
use crate::name;
use crate::reader::Bundle;

/// What stands between the manifest and the contents in an input.
const MARK: &[u8] = b"\n%%%%\n";
/// More than this is not made into files.
const MOST_PARTS: usize = 16;

/// Gives `bytes` to the readers in three forms, made in the folder `place`, which may hold nothing
/// else: as the packed file, as the folder that it describes, and as the archive of that folder.
///
/// # Panics
/// When a reader breaks one of its promises, or when `place` cannot be written: that is what it is for.
pub fn read(bytes: &[u8], place: &Path) {
    let made = as_file(bytes, place).and_then(|()| as_folder(bytes, place));
    assert!(made.is_ok(), "the input could not be put on disk: {made:?}");
}

/// Tighter than what is shipped, so that an input reaches them.
fn limits() -> Limits {
    Limits { manifest: 64 << 10, artifact: 64 << 10, unpacked: 256 << 10, entries: 64, ..Limits::default() }
}

fn as_file(bytes: &[u8], place: &Path) -> io::Result<()> {
    let packed = place.join("as-is.tar.zst");
    fs::write(&packed, bytes)?;
    check(&packed);
    // An archive that is not compressed is none; zstd's checks would keep most inputs from the reader
    // of archives behind it.
    fs::write(&packed, zstd::bulk::compress(bytes, 1)?)?;
    check(&packed);
    fs::remove_file(packed)
}

fn as_folder(bytes: &[u8], place: &Path) -> io::Result<()> {
    let parts = split(bytes);
    let folder = place.join("folder");
    fs::create_dir_all(folder.join(name::ARTIFACTS))?;
    let mut tar = tar::Builder::new(Vec::new());
    for (n, part) in parts.iter().enumerate() {
        let name = if n == 0 { name::MANIFEST.to_owned() } else { name::artifact(&digest(part)) };
        fs::write(folder.join(&name), part)?;
        let mut header = tar::Header::new_ustar();
        header.set_size(part.len() as u64);
        tar.append_data(&mut header, &name, *part)?;
    }
    check(&folder);
    let packed = place.join("packed.tar.zst");
    fs::write(&packed, zstd::bulk::compress(&tar.into_inner()?, 1)?)?;
    check(&packed);
    fs::remove_file(packed)?;
    fs::remove_dir_all(folder)
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while parts.len() + 1 < MOST_PARTS
        && let Some(at) = rest.windows(MARK.len()).position(|it| it == MARK)
    {
        parts.push(&rest[..at]);
        rest = &rest[at + MARK.len()..];
    }
    parts.push(rest);
    parts
}

/// What holds for every bundle that opens, and that a stream of a packed one is judged the same.
fn check(path: &Path) {
    let limits = limits();
    let opened = Bundle::open_with(path, limits);
    if let Ok(file) = fs::File::open(path)
        && file.metadata().is_ok_and(|it| it.is_file())
    {
        let whole = opened.as_ref().is_ok_and(|it| it.verify().is_ok_and(|it| it.is_whole()));
        let imported = import(file, &limits, &mut Nobody::default());
        assert_eq!(whole, imported.is_ok(), "the file is whole: {whole}, the stream: {imported:?}");
    }
    let Ok(bundle) = opened else { return };
    let mut whole = true;
    for wanted in bundle.digests() {
        match bundle.artifact(wanted) {
            Ok(content) => {
                assert_eq!(digest(&content), *wanted, "a content that is not what its name says");
                assert!(content.len() as u64 <= limits.artifact);
            }
            Err(_) => whole = false,
        }
    }
    let verified = bundle.verify().is_ok_and(|it| it.is_whole());
    assert!(whole || !verified, "called whole, and a content cannot be had");
    // Either or an error; the case is foreign, too.
    drop(bundle.case());
}

/// Takes an import and sees that what comes is what was announced.
#[derive(Default)]
struct Nobody {
    announced: u64,
    come: u64,
}

impl Receiver for Nobody {
    type Error = std::convert::Infallible;

    fn manifest(&mut self, _manifest: &Manifest) -> Result<(), Self::Error> {
        Ok(())
    }

    fn begin(&mut self, _name: &Digest, size: u64) -> Result<(), Self::Error> {
        (self.announced, self.come) = (size, 0);
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.come += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self, _name: &Digest) -> Result<(), Self::Error> {
        assert_eq!(self.come, self.announced, "a content of another size than was announced");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/bundle");
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap())).collect()
    }

    #[test]
    fn the_fuzz_corpus_is_read_without_a_broken_promise() {
        let dir = tempfile::tempdir().unwrap();
        let seeds = seeds();
        assert!(seeds.len() >= 4, "the corpus is missing");
        for (_, bytes) in &seeds {
            read(bytes, dir.path());
            for end in (0..bytes.len()).step_by(97) {
                read(&bytes[..end], dir.path());
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it cleans up behind itself");
    }

    #[test]
    fn the_seeds_give_what_their_names_say() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in seeds() {
            let folder = dir.path().join(&name);
            fs::create_dir_all(folder.join(name::ARTIFACTS)).unwrap();
            for (n, part) in split(&bytes).iter().enumerate() {
                let file = if n == 0 { name::MANIFEST.to_owned() } else { name::artifact(&digest(part)) };
                fs::write(folder.join(file), part).unwrap();
            }
            let opened = Bundle::open_with(&folder, limits());
            match name.as_str() {
                "whole.log" => assert!(opened.unwrap().verify().unwrap().is_whole()),
                "missing-content.log" => assert!(!opened.unwrap().verify().unwrap().is_whole()),
                "newer-format.log" | "size-over-limit.log" | "cut-manifest.log" => {
                    assert!(opened.is_err(), "{name}");
                }
                // As it is, it is an archive; see below.
                "archive.log" => assert!(opened.is_err()),
                other => panic!("say what {other} is for"),
            }
        }
    }

    #[test]
    fn the_seed_that_is_an_archive_opens_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes) = seeds().into_iter().find(|it| it.0 == "archive.log").unwrap();
        let path = dir.path().join("a.tar.zst");
        fs::write(&path, zstd::bulk::compress(&bytes, 1).unwrap()).unwrap();
        assert!(Bundle::open_with(&path, limits()).unwrap().verify().unwrap().is_whole());
    }
}
