//! Kernel modules and the order to load them in.
//!
//! Debian's packages have no `modules.dep` (it is made at installation), so dependencies are read from
//! where `depmod` takes them: the `depends=` string of each module's `.modinfo` section.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A module, ready for `finit_module`.
#[derive(Debug, Clone)]
pub struct Module {
    /// Name with underscores, as in `/proc/modules`.
    pub name: String,
    /// The ELF object, not compressed.
    pub bytes: Vec<u8>,
}

/// All modules of a kernel, by name.
#[derive(Debug)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Looks through `modules_dir` (`.../lib/modules/VERSION`).
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn scan(modules_dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![modules_dir.join("kernel")];
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules `wanted` and what they depend on, dependencies first. A name that is no file is
    /// left out: it is built into this kernel, or this kernel has no such driver.
    ///
    /// # Errors
    /// When a file cannot be read or decompressed.
    pub fn in_load_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(&name.replace('-', "_"), &mut Vec::new(), &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, above: &mut Vec<String>, order: &mut Vec<Module>) -> Result<()> {
        let done = order.iter().any(|it| it.name == name) || above.iter().any(|it| it == name);
        let Some(path) = self.files.get(name).filter(|_| !done) else { return Ok(()) };
        let bytes = read(path)?;
        above.push(name.to_owned());
        for dependency in depends(&bytes) {
            self.visit(&dependency, above, order)?;
        }
        above.pop();
        order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz"))?;
    Some(stem.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|it| it != "xz") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let output = Command::new("xz")
        .args(["--decompress", "--stdout", "--"])
        .arg(path)
        .output()
        .context("cannot run xz: install the package xz-utils")?;
    if !output.status.success() {
        bail!("xz cannot unpack {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// The names in `depends=a,b` of a module.
fn depends(bytes: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = bytes.windows(FIELD.len()).position(|it| it == FIELD) else { return Vec::new() };
    let value = bytes.get(at + FIELD.len()..).unwrap_or_default();
    let value = value.split(|it| *it == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|it| !it.is_empty())
        .map(|it| it.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_built_in_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kernel/drivers")).unwrap();
        let write = |name: &str, depends: &str| {
            fs::write(dir.path().join("kernel/drivers").join(name), format!("ELF\0depends={depends}\0x"))
                .unwrap();
        };
        write("virtio_pci.ko", "virtio_ring,virtio-pci-modern-dev,virtio");
        write("virtio-pci-modern-dev.ko", "");
        write("virtio_ring.ko", "virtio");
        let modules = Modules::scan(dir.path()).unwrap();
        let order = modules.in_load_order(&["virtio_pci", "ext4"]).unwrap();
        let names: Vec<&str> = order.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["virtio_ring", "virtio_pci_modern_dev", "virtio_pci"]);
    }

    #[test]
    fn a_circle_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kernel")).unwrap();
        fs::write(dir.path().join("kernel/a.ko"), "\0depends=b\0").unwrap();
        fs::write(dir.path().join("kernel/b.ko"), "\0depends=a\0").unwrap();
        let order = Modules::scan(dir.path()).unwrap().in_load_order(&["a"]).unwrap();
        assert_eq!(order.len(), 2);
    }
}
