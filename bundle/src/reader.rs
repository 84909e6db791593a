//! Reads a bundle, folder or packed, that may come from anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vmward_findings::{CASE_KIND, Case};
use vmward_model::{Digest, Manifest};

use crate::digest::digest;
use crate::entries::entries;
use crate::limits::{Limits, OpenError, said};
use crate::name;
use crate::parts::json_parts;
use crate::tar_entry::Entry;

/// A bundle whose manifest was read. Artifacts are read, and checked, when they are asked for.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    packed: bool,
    limits: Limits,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    sizes: BTreeMap<Digest, u64>,
}

/// What [`Bundle::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Distinct contents that are what their names say.
    pub good: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// What is wrong, each in a sentence; empty for a whole bundle. May hold foreign file names.
    pub problems: Vec<String>,
}

impl Checked {
    /// Nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Opens a bundle with the default limits.
pub fn open(path: &Path) -> Result<Bundle, OpenError> {
    Bundle::open_with(path, Limits::default())
}

impl Bundle {
    /// Opens a bundle with these limits.
    pub fn open_with(path: &Path, limits: Limits) -> Result<Bundle, OpenError> {
        let is_dir = fs::metadata(path).map_err(|err| disk("look at", path, err))?.is_dir();
        let manifest_bytes = if is_dir {
            let file = path.join(name::MANIFEST);
            match read_plain(&file, limits.manifest, "the manifest's size") {
                Err(OpenError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(not_a_bundle(path, format!("it has no {}", name::MANIFEST)));
                }
                other => other?,
            }
        } else {
            let mut entries = entries(path, &limits)?;
            match entries.next()? {
                Some(Entry::Manifest(_)) => entries.content()?,
                _ => return Err(not_a_bundle(path, format!("{} is not its first entry", name::MANIFEST))),
            }
        };
        let (manifest, sizes) = limits.read_manifest(&manifest_bytes)?;
        Ok(Bundle { path: path.to_owned(), packed: !is_dir, limits, manifest, manifest_bytes, sizes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its manifest. Its texts come from a guest or from whoever made the bundle: escape them.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it lies on disk.
    pub(crate) fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The names of its distinct contents.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.sizes.keys()
    }

    /// One content, checked against its name and size.
    pub fn artifact(&self, wanted: &Digest) -> Result<Vec<u8>, OpenError> {
        let size = *self.sizes.get(wanted).ok_or_else(|| OpenError::NoSuchArtifact(wanted.clone()))?;
        let mismatch = || OpenError::Mismatch { name: wanted.clone() };
        let content = if self.packed {
            let mut entries = entries(&self.path, &self.limits)?;
            loop {
                match entries.next()?.ok_or_else(|| OpenError::NoSuchArtifact(wanted.clone()))? {
                    Entry::Artifact(found, found_size) if found == *wanted => {
                        if found_size != size {
                            return Err(mismatch());
                        }
                        break entries.content()?;
                    }
                    _ => {}
                }
            }
        } else {
            read_plain(&self.path.join(name::artifact(wanted)), size, "an artifact's size")?
        };
        if content.len() as u64 != size || digest(&content) != *wanted {
            return Err(mismatch());
        }
        Ok(content)
    }

    /// The first content of a kind.
    pub fn artifact_of_kind(&self, kind: &str) -> Result<Option<Vec<u8>>, OpenError> {
        match self.manifest.artifacts.iter().find(|it| it.kind == kind) {
            Some(it) => self.artifact(&it.sha256).map(Some),
            None => Ok(None),
        }
    }

    /// The engine's case, so that the findings can be made again; `None` where the bundle has none.
    pub fn case(&self) -> Result<Option<Case>, OpenError> {
        let Some(bytes) = self.artifact_of_kind(CASE_KIND)? else { return Ok(None) };
        Limits::check("the number of values in the case", json_parts(&bytes), self.limits.case_parts)?;
        let case = serde_json::from_slice(&bytes)
            .map_err(|err| not_a_bundle(&self.path, format!("its case cannot be read: {}", said(&err))))?;
        Ok(Some(case))
    }

    /// Checks every digest and size, that nothing is missing and that nothing is extra.
    pub fn verify(&self) -> Result<Checked, OpenError> {
        let mut checked = Checked::default();
        let mut missing: BTreeSet<&Digest> = self.sizes.keys().collect();
        if self.packed {
            self.verify_packed(&mut checked, &mut missing)?;
        } else {
            self.verify_folder(&mut checked, &mut missing)?;
        }
        checked.problems.extend(missing.iter().map(|it| format!("artifact {it} is missing")));
        Ok(checked)
    }

    fn verify_packed<'a>(
        &'a self,
        checked: &mut Checked,
        missing: &mut BTreeSet<&'a Digest>,
    ) -> Result<(), OpenError> {
        let mut entries = entries(&self.path, &self.limits)?;
        let mut manifests = 0;
        while let Some(entry) = entries.next()? {
            match &entry {
                Entry::Folder => {}
                Entry::Manifest(_) => manifests += 1,
                Entry::Artifact(found, size) => {
                    // What the manifest does not promise is not even unpacked.
                    if self.sizes.get(found) != Some(size) {
                        return Err(OpenError::Mismatch { name: found.clone() });
                    }
                    if !missing.remove(found) {
                        return Err(OpenError::Broken(format!("artifact {found} comes twice")));
                    }
                    let content = entries.content()?;
                    checked.count(found, &content);
                }
            }
        }
        if manifests != 1 {
            return Err(OpenError::Broken(format!("{manifests} manifests")));
        }
        Ok(())
    }

    fn verify_folder<'a>(
        &'a self,
        checked: &mut Checked,
        missing: &mut BTreeSet<&'a Digest>,
    ) -> Result<(), OpenError> {
        for found in list(&self.path, self.limits.entries)? {
            if found != name::MANIFEST && found != name::ARTIFACTS {
                checked.problems.push(format!("unexpected entry {:?}", shorten(&found)));
            }
        }
        let folder = self.path.join(name::ARTIFACTS);
        for found in list(&folder, self.limits.entries)? {
            let Some((known, _)) = found.parse::<Digest>().ok().and_then(|it| self.sizes.get_key_value(&it))
            else {
                checked.problems.push(format!("unexpected entry {:?}", shorten(&found)));
                continue;
            };
            missing.remove(known);
            match self.artifact(known) {
                Ok(content) => checked.count(known, &content),
                Err(err) => checked.problems.push(err.to_string()),
            }
        }
        Ok(())
    }
}

impl Checked {
    fn count(&mut self, name: &Digest, content: &[u8]) {
        if digest(content) == *name {
            self.good += 1;
            self.bytes += content.len() as u64;
        } else {
            self.problems.push(OpenError::Mismatch { name: name.clone() }.to_string());
        }
    }
}

fn disk(what: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Disk { what, path: path.to_owned(), source }
}

fn not_a_bundle(path: &Path, why: String) -> OpenError {
    OpenError::NotABundle { path: path.to_owned(), why }
}

fn shorten(name: &str) -> String {
    name.chars().take(80).collect()
}

fn list(folder: &Path, limit: usize) -> Result<Vec<String>, OpenError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|err| disk("list", folder, err))? {
        let entry = entry.map_err(|err| disk("list", folder, err))?;
        Limits::check("the number of entries", names.len() as u64 + 1, limit as u64)?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Opens a regular file; a link, a pipe or a device in its place is refused and never waited for.
pub(crate) fn open_plain(path: &Path) -> Result<File, OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|err| disk("open", path, err))?;
    if !file.metadata().map_err(|err| disk("look at", path, err))?.is_file() {
        return Err(not_a_bundle(path, "it is not a regular file".to_owned()));
    }
    Ok(file)
}

fn read_plain(path: &Path, limit: u64, what: &'static str) -> Result<Vec<u8>, OpenError> {
    let file = open_plain(path)?;
    let mut content = Vec::new();
    // One byte more than allowed tells a file that grows while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(|err| disk("read", path, err))?;
    Limits::check(what, content.len() as u64, limit)?;
    Ok(content)
}
