//! The file to look into: a core of any kind, or a bundle with a minicore in it.

use std::path::{Path, PathBuf};

use thiserror::Error;
use vmward_kernel_lens::source::{self, Opened};

use crate::report;

/// The kind of artifact that is a minicore (`capture/memory.rs`).
const KIND: &str = "minicore";

/// Why nothing can be looked into.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is neither a core nor a bundle.
    #[error("{path} is no core of a guest: {core}; and no report: {report}", path = path.display())]
    Neither {
        /// What was opened.
        path: PathBuf,
        /// Why it is no core.
        core: source::OpenError,
        /// Why it is no report.
        report: Box<report::OpenError>,
    },
    /// The core is damaged or of a kind that is not read.
    #[error("{path} cannot be read", path = path.display())]
    Core {
        /// What was opened.
        path: PathBuf,
        /// Why.
        #[source]
        source: source::OpenError,
    },
    /// The bundle cannot be read.
    #[error("the report {path} cannot be read", path = path.display())]
    Report {
        /// What was opened.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<report::OpenError>,
    },
    /// The bundle has none.
    #[error("the report {path} holds no minicore: none of its captures looked into the guest's memory",
        path = path.display())]
    NoMinicore {
        /// What was opened.
        path: PathBuf,
    },
}

/// A file that was opened.
pub struct GuestFile {
    /// Memory, registers, what else the file says.
    pub opened: Opened,
}

impl GuestFile {
    /// Opens a core, or a bundle (folder or packed) with a minicore.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let path_buf = || path.to_owned();
        if path.is_dir() {
            return Self::of_bundle(path, |source| FileError::Report { path: path_buf(), source });
        }
        match source::open(path) {
            Ok(opened) => Ok(Self { opened }),
            Err(core @ source::OpenError::Unknown { .. }) => {
                Self::of_bundle(path, |report| FileError::Neither { path: path_buf(), core, report })
            }
            Err(source) => Err(FileError::Core { path: path_buf(), source }),
        }
    }

    fn of_bundle(
        path: &Path,
        refused: impl FnOnce(Box<report::OpenError>) -> FileError,
    ) -> Result<Self, FileError> {
        let path_buf = || path.to_owned();
        let bundle = match report::open(path) {
            Ok(bundle) => bundle,
            Err(error) => return Err(refused(Box::new(error))),
        };
        let bytes = bundle
            .artifact_of_kind(KIND)
            .map_err(|source| FileError::Report { path: path_buf(), source: Box::new(source) })?
            .ok_or_else(|| FileError::NoMinicore { path: path_buf() })?;
        let opened = source::open_bytes(Box::new(bytes))
            .map_err(|source| FileError::Core { path: path_buf(), source })?;
        Ok(Self { opened })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use vmward_bundle::{digest, name, sample};
    use vmward_kernel_lens::minicore::{self, Contents};
    use vmward_kernel_lens::source::Format;
    use vmward_kernel_lens::{Arch, PhysRange, PhysicalMemory, ReadError, Recorder};

    /// Memory of one page.
    struct OnePage([PhysRange; 1]);

    impl PhysicalMemory for OnePage {
        fn ranges(&self) -> &[PhysRange] {
            &self.0
        }

        fn read(&self, _: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            buf.fill(7);
            Ok(())
        }
    }

    fn minicore() -> Vec<u8> {
        let memory = OnePage([PhysRange { start: 0, end: 4096 }]);
        let recorder = Recorder::new(&memory);
        recorder.read(0, &mut [0]).unwrap();
        let contents = Contents { arch: Arch::X86_64, cpus: &[], vmcoreinfo: None, windows: &[], extra: &[] };
        let mut file = Vec::new();
        minicore::write(&mut file, &recorder, &contents, |_| true).unwrap();
        file
    }

    /// A bundle with one artifact.
    fn bundle(dir: &Path, kind: &str, bytes: &[u8]) -> PathBuf {
        let folder = dir.join("bundle");
        fs::create_dir_all(folder.join(name::ARTIFACTS)).unwrap();
        fs::write(folder.join(name::artifact(&digest(bytes))), bytes).unwrap();
        let manifest = sample::manifest(&[(kind, bytes)]);
        fs::write(folder.join(name::MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        folder
    }

    #[test]
    fn the_minicore_of_a_bundle_is_found_in_a_folder_and_packed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = bundle(dir.path(), "minicore", &minicore());
        let packed = dir.path().join("bundle.tar.zst");
        report::pack(&report::open(&folder).unwrap(), &packed).unwrap();
        let core = dir.path().join("core");
        fs::write(&core, minicore()).unwrap();
        for path in [folder, packed, core] {
            assert_eq!(GuestFile::open(&path).unwrap().opened.format, Format::Minicore, "{}", path.display());
        }
    }

    #[test]
    fn what_holds_none_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| GuestFile::open(path).err().map(|it| it.to_string()).unwrap_or_default();
        let folder = bundle(dir.path(), "console", b"no core");
        assert!(refused(&folder).contains("holds no minicore"), "{}", refused(&folder));
        let text = dir.path().join("notes");
        fs::write(&text, "neither").unwrap();
        let said = refused(&text);
        assert!(said.contains("is no core of a guest") && said.contains("no report"), "{said}");
        assert!(refused(&dir.path().join("absent")).contains("absent"));
    }
}
