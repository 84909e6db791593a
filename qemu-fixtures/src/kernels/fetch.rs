//! Fetches the packages of a group, checks them against the lock file and unpacks them into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::lock::{Group, Package};
use super::update;
use crate::cache::{Cache, notice, sha256};

/// The unpacked tree of `group`. Asks the network only when the cache does not have it.
///
/// # Errors
/// When the archive cannot be reached, or a package's digest is not the pinned one.
pub(super) fn unpacked(cache: &Cache, group: &Group) -> Result<PathBuf> {
    let key = group.key();
    let entry = cache.entry(&key, |path| {
        let apt = Apt::open(cache, &group.suite, &group.arch)?;
        let packages = available(&apt, group)?;
        fs::create_dir_all(path)?;
        for package in &packages {
            let deb = fetched(cache, &apt, package)?;
            unpack(&deb, &path.join("root"))?;
        }
        relocate_headers(&path.join("root"), &cache.root().join(&key).join("root"))?;
        fs::write(
            path.join("packages.toml"),
            toml::to_string(&Group { package: packages, ..group.clone() })?,
        )?;
        Ok(())
    })?;
    Ok(entry.join("root"))
}

/// The pinned packages, or, when one of them is gone from the suite, the current ones.
fn available(apt: &Apt, group: &Group) -> Result<Vec<Package>> {
    for pinned in &group.package {
        let listed = apt.show(&pinned.name)?;
        let Some(stanza) = listed.iter().find(|it| it.get("version") == Some(&pinned.version)) else {
            let current = update::current(apt, group)?;
            let names: Vec<String> = current.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
            notice(&format!(
                "{}: {} {} is gone from {}; using {} instead (`cargo xtask fixtures update` pins it)",
                group.name,
                pinned.name,
                pinned.version,
                group.suite,
                names.join(", ")
            ));
            return Ok(current);
        };
        let digest = update::package(stanza)?.sha256;
        if digest != pinned.sha256 {
            bail!(
                "{} {} in {} has the digest {digest}, kernels.lock says {}: \
                 the archive or the lock file is wrong, nothing was unpacked",
                pinned.name,
                pinned.version,
                group.suite,
                pinned.sha256
            );
        }
    }
    Ok(group.package.clone())
}

/// The `.deb`, from an earlier run that was cut short or from the archive.
fn fetched(cache: &Cache, apt: &Apt, package: &Package) -> Result<PathBuf> {
    cache.entry(&format!("debs/{}.deb", package.sha256), |path| {
        let folder = path.with_extension("download");
        fs::create_dir_all(&folder)?;
        let deb = apt.download(&package.name, &package.version, &folder)?;
        let digest = sha256(&fs::read(&deb)?);
        if digest != package.sha256 {
            bail!(
                "{} {} was damaged on the way: digest {digest}, expected {}",
                package.name,
                package.version,
                package.sha256
            );
        }
        fs::rename(&deb, path)?;
        fs::remove_dir_all(&folder)?;
        Ok(())
    })
}

fn unpack(deb: &Path, root: &Path) -> Result<()> {
    let status = Command::new("dpkg-deb")
        .arg("-x")
        .arg(deb)
        .arg(root)
        .status()
        .context("cannot run dpkg-deb: the fixtures need Debian's dpkg")?;
    if !status.success() {
        bail!("dpkg-deb -x {} failed: {status}", deb.display());
    }
    Ok(())
}

/// Debian's header packages include each other by `/usr/src/...`: point those lines into the cache.
fn relocate_headers(root: &Path, finally: &Path) -> Result<()> {
    let Ok(trees) = fs::read_dir(root.join("usr/src")) else { return Ok(()) };
    for tree in trees {
        let makefile = tree?.path().join("Makefile");
        let Ok(text) = fs::read_to_string(&makefile) else { continue };
        let moved = text.replace(" /usr/src/", &format!(" {}/usr/src/", finally.display()));
        if moved != text {
            fs::write(&makefile, moved)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_includes_point_into_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("usr/src/linux-headers-6.1.0-50-amd64");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("Makefile"), "include /usr/src/linux-headers-6.1.0-50-common/Makefile\n")
            .unwrap();
        relocate_headers(dir.path(), Path::new("/c/root")).unwrap();
        assert_eq!(
            fs::read_to_string(tree.join("Makefile")).unwrap(),
            "include /c/root/usr/src/linux-headers-6.1.0-50-common/Makefile\n"
        );
    }
}
