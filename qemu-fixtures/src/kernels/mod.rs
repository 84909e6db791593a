//! Real kernels from Debian's packages, pinned in `kernels.lock`.
//!
//! [`Cache::kernel`](crate::cache::Cache::kernel) gives one, fetched once and used offline afterwards.

mod apt;
mod fetch;
mod lock;
mod modules;
mod source;
mod update;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;

pub use lock::{Group, Lock, Package};
pub use modules::{Module, Modules};
pub use update::update;

/// The kernels that the fixtures know, oldest first.
pub const KERNELS: [&str; 5] = ["amd64-5.10", "amd64-6.1", "amd64-6.12", "amd64-7.x", "arm64-6.12"];

/// A processor architecture, as Debian, Rust and QEMU name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Arch {
    /// Reads Debian's name.
    ///
    /// # Errors
    /// When the fixtures have no such architecture.
    pub fn from_debian(name: &str) -> Result<Self> {
        match name {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            _ => bail!("architecture {name:?} is not one of amd64, arm64"),
        }
    }

    /// `amd64` or `arm64`.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The target for a static program.
    #[must_use]
    pub fn rust_target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The QEMU program for whole systems.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }
}

/// A kernel on this machine's disk.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The fixtures' name, one of [`KERNELS`].
    pub name: String,
    /// What it runs on.
    pub arch: Arch,
    /// What `uname -r` says in the guest, such as `6.1.0-50-cloud-amd64`.
    pub version: String,
    /// The image for QEMU's `-kernel`.
    pub vmlinuz: PathBuf,
    /// The folder `.../lib/modules/VERSION`.
    pub modules_dir: PathBuf,
}

impl Cache {
    /// The kernel `name` (one of [`KERNELS`]), fetched when it is not in the cache.
    ///
    /// # Errors
    /// When the name is unknown, the archive cannot be reached, or a package is not the pinned one.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        if !KERNELS.contains(&name) {
            bail!("no kernel {name:?}: the fixtures have {}", KERNELS.join(", "));
        }
        let lock = Lock::shipped()?;
        let group = lock.group(name)?;
        let root = fetch::unpacked(self, group)?;
        find(name, Arch::from_debian(&group.arch)?, &root)
            .with_context(|| format!("kernel {name} in {} is not whole: remove that folder", root.display()))
    }

    /// A static busybox for `arch` from Debian's package.
    ///
    /// # Errors
    /// As for [`Cache::kernel`].
    pub fn busybox(&self, arch: Arch) -> Result<PathBuf> {
        let lock = Lock::shipped()?;
        let root = fetch::unpacked(self, lock.group(&format!("busybox-{}", arch.debian()))?)?;
        ["bin/busybox", "usr/bin/busybox"]
            .iter()
            .map(|it| root.join(it))
            .find(|it| it.is_file())
            .with_context(|| format!("no busybox in {}: remove that folder", root.display()))
    }

    /// The headers to build a module for kernel `name`: the folder for `make -C`.
    ///
    /// # Errors
    /// When no headers are pinned for that kernel, or they belong to another version of it.
    pub fn kernel_headers(&self, name: &str) -> Result<PathBuf> {
        let kernel = self.kernel(name)?;
        let lock = Lock::shipped()?;
        let root = fetch::unpacked(self, lock.group(&format!("headers-{name}"))?)?;
        let tree = root.join("usr/src").join(format!("linux-headers-{}", kernel.version));
        if !tree.is_dir() {
            bail!(
                "the headers in {} are not those of kernel {}: run `fixtures update`, commit the lock file",
                root.display(),
                kernel.version
            );
        }
        Ok(tree)
    }
}

/// Finds image and modules in an unpacked tree: `boot/vmlinuz-*` until 6.12, beside the modules later.
fn find(name: &str, arch: Arch, root: &Path) -> Result<Kernel> {
    for base in ["usr/lib/modules", "lib/modules"] {
        let Ok(entries) = fs::read_dir(root.join(base)) else { continue };
        for entry in entries {
            let modules_dir = entry?.path();
            let Some(version) = modules_dir.file_name().and_then(|it| it.to_str()).map(str::to_owned) else {
                continue;
            };
            let images = [root.join(format!("boot/vmlinuz-{version}")), modules_dir.join("vmlinuz")];
            if let Some(vmlinuz) = images.into_iter().find(|it| it.is_file()) {
                return Ok(Kernel { name: name.into(), arch, version, vmlinuz, modules_dir });
            }
        }
    }
    bail!("no kernel image below {}", root.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_has_every_kernel() {
        let lock = Lock::shipped().unwrap();
        for name in KERNELS {
            let group = lock.group(name).unwrap();
            assert!(!group.package.is_empty(), "{name} has no packages");
            assert!(name.starts_with(&group.arch), "{name} is for {}", group.arch);
        }
    }

    #[test]
    fn an_image_is_found_in_both_layouts() {
        for image in ["boot/vmlinuz-7.2.13", "usr/lib/modules/7.2.13/vmlinuz"] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("boot")).unwrap();
            fs::create_dir_all(dir.path().join("usr/lib/modules/7.2.13")).unwrap();
            fs::write(dir.path().join(image), "").unwrap();
            let kernel = find("amd64-7.x", Arch::Amd64, dir.path()).unwrap();
            assert_eq!(kernel.version, "7.2.13");
            assert_eq!(kernel.vmlinuz, dir.path().join(image));
        }
    }
}
