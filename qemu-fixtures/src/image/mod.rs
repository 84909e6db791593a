//! Images of guests for the lens: RAM, registers and the layout of memory, with the truth beside them that
//! the guest told from inside a moment before.
//!
//! An image is a folder of the fixtures' [cache](crate::cache), made once for each kernel, fault and state of
//! the patient's sources. Two that want the same one wait for each other.
//!
//! | file | what |
//! |---|---|
//! | `ram.raw` | the guest's RAM block, sparse; `mtree.txt` says where which part of it lies |
//! | `registers.txt`, `mtree.txt`, `ramblock.txt` | HMP `info registers -a`, `info mtree -f`, `info ramblock` |
//! | `query-cpus-fast.json` | QMP's answer |
//! | `one-page.elf` | a dump of one page whose notes hold all registers; only of a paused guest |
//! | `kallsyms.txt`, `tasks.txt`, ... | the guest's answers (`questions.rs`) |
//! | `...-after.txt` | the same question asked again when it ran on |
//! | `meta.json` | [`Meta`] |

mod files;
mod questions;
mod ram;
mod shell;
mod take;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use files::Files;

use crate::cache::sha256;
use crate::fault::{self, Fault};
use crate::patient;
use crate::standard::Patient;

/// Changes when an image made by older code will not do any more.
const FORMAT: u32 = 1;

/// An image of 130 MiB that nobody used for so long is removed.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How the memory was kept from changing while it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stillness {
    /// QMP `stop`: registers and memory are of one moment.
    Paused,
    /// SIGSTOP to QEMU, since a disk owed an answer and `stop` would wait for it: memory is of one moment,
    /// registers are those of the running guest just before it.
    Held,
    /// The guest did not run any more.
    Already,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Number of the folder's format.
    pub format: u32,
    /// The fixtures' name of the kernel.
    pub kernel: String,
    /// What `uname -r` says in the guest.
    pub version: String,
    /// The fault; `idle` for none.
    pub fault: String,
    /// How memory was kept from changing.
    pub stillness: Stillness,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// RAM, MiB.
    pub memory_mib: u32,
    /// Version of QEMU.
    pub qemu: String,
    /// The fault's proof.
    pub proof: Value,
    /// Questions that a broken guest did not answer, with why.
    pub untold: Vec<String>,
    /// Seconds until it was booted.
    pub booted_s: f64,
    /// Seconds that all of it took.
    pub taken_s: f64,
}

/// An image of a guest.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
    meta: Meta,
}

/// The image of the standard guest on `kernel`, one of [`crate::kernels::KERNELS`], healthy and paused.
///
/// # Errors
/// When it cannot be made.
pub fn of(kernel: &str) -> Result<Image> {
    of_fault("idle", kernel)
}

/// The image of the standard guest on `kernel` after `fault` was made and proved.
///
/// # Errors
/// When it cannot be made.
pub fn of_fault(fault: &str, kernel: &str) -> Result<Image> {
    of_made(fault::find(fault)?, kernel)
}

/// The same after `fault`, which need not be one of those that must be noticed.
///
/// # Errors
/// When it cannot be made.
pub fn of_made(fault: &dyn Fault, kernel: &str) -> Result<Image> {
    let patient = fault.prepare(Patient::standard(kernel)?)?;
    let cache = patient.cache.clone();
    let key = key(&patient, fault)?;
    let folder = cache.entry(&key, |path| {
        fs::create_dir(path)?;
        take::take(patient, fault, path)
    })?;
    used(&folder)?;
    forget_unused(&cache.root().join("image"), UNUSED)?;
    Image::open(&folder)
}

/// Notes in the folder's time that somebody uses the image.
fn used(folder: &Path) -> Result<()> {
    let noted = fs::File::open(folder).and_then(|it| it.set_modified(SystemTime::now()));
    noted.with_context(|| format!("cannot note that {} is used", folder.display()))
}

/// Removes images that nobody used for so long: each state of the patient's sources makes new ones.
fn forget_unused(images: &Path, unused: Duration) -> Result<()> {
    for entry in fs::read_dir(images).with_context(|| format!("cannot list {}", images.display()))? {
        let entry = entry?;
        let age = entry.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
        if age.is_some_and(|it| it > unused) {
            // Another process may do the same at this moment.
            let _removed = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// The name in the cache: new when kernel, patient, machine or questions are.
fn key(patient: &Patient, fault: &dyn Fault) -> Result<String> {
    let program = patient::program(&patient.cache, patient.kernel.arch)?;
    // The description names the kernel's pinned packages and holds what a fault put into the initramfs.
    let described = format!("{patient:?} {program:?} {:?}", questions::ALL);
    let (kernel, version) = (&patient.kernel.name, &patient.kernel.version);
    let digest = sha256(described.as_bytes());
    Ok(format!("image/{kernel}-{}-{version}-{}-v{FORMAT}", fault.name(), &digest[..16]))
}

impl Image {
    /// Opens the image in a folder.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(folder: &Path) -> Result<Self> {
        let text = read(&folder.join("meta.json"))?;
        let meta = serde_json::from_str(&text)
            .with_context(|| format!("cannot read meta.json in {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), meta })
    }

    /// Copies it to a folder of the caller's, which is made.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub fn copy_to(&self, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for entry in fs::read_dir(&self.folder)? {
            let from = entry?.path();
            let Some(name) = from.file_name() else { continue };
            if name == "ram.raw" {
                ram::copy(&from, &folder.join(name))?;
            } else {
                fs::copy(&from, folder.join(name))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        Self::open(folder)
    }

    /// Where its files are. They are shared: nobody writes there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of it.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The file with the guest's RAM block.
    pub fn ram(&self) -> PathBuf {
        self.folder.join("ram.raw")
    }

    /// HMP `info registers -a`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn registers(&self) -> Result<String> {
        self.text("registers")
    }

    /// HMP `info mtree -f`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn mtree(&self) -> Result<String> {
        self.text("mtree")
    }

    /// The text `NAME.txt`: an answer of the guest or of the monitor. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// When there is none; if the guest did not answer, the error says why.
    pub fn text(&self, name: &str) -> Result<String> {
        read(&self.folder.join(format!("{name}.txt"))).with_context(|| {
            let why = self.meta.untold.iter().find(|it| it.starts_with(&format!("{name}: ")));
            why.map_or_else(|| format!("no {name}"), |why| format!("the guest did not tell {why}"))
        })
    }

    /// The text of the same question asked again after the guest ran on.
    ///
    /// # Errors
    /// As for [`Image::text`]. Only what changes quickly is asked twice.
    pub fn text_after(&self, name: &str) -> Result<String> {
        self.text(&format!("{name}-after"))
    }

    /// An answer that holds many files: `tasks`, `machine`, `module-files`, `settings`, `fdinfo`, `all-maps`.
    ///
    /// # Errors
    /// As for [`Image::text`].
    pub fn files(&self, name: &str) -> Result<Files> {
        Ok(Files::parse(&self.text(name)?))
    }

    /// Process and thread ids of all threads that did not run between the question before the image and the
    /// one after it: everything in their `/proc/PID/task/TID` was so in the image.
    ///
    /// # Errors
    /// As for [`Image::text`].
    pub fn still_threads(&self) -> Result<Vec<(u32, u32)>> {
        let (before, after) = (self.files("tasks")?, self.files("tasks-after")?);
        let still = |id: &(u32, u32)| before.switches(*id).is_some_and(|it| after.switches(*id) == Some(it));
        Ok(before.threads().into_iter().filter(still).collect())
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_when_nobody_used_it_for_long() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("ram.raw"), "x").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * UNUSED;
        fs::File::open(dir.path().join("old")).unwrap().set_modified(long_ago).unwrap();
        forget_unused(dir.path(), UNUSED).unwrap();
        assert!(!dir.path().join("old").exists() && dir.path().join("new").exists());
        fs::File::open(dir.path().join("new")).unwrap().set_modified(long_ago).unwrap();
        used(&dir.path().join("new")).unwrap();
        forget_unused(dir.path(), UNUSED).unwrap();
        assert!(dir.path().join("new").exists());
    }
}
