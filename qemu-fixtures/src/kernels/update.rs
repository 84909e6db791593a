//! Finds the current packages of a group and writes the lock file anew.

use anyhow::{Context, Result, bail};

use super::apt::{Apt, Paragraph};
use super::lock::{Group, Lock, Package};
use crate::cache::Cache;

/// Dependencies with these beginnings belong to the kernel itself; the rest is what an installed system needs.
const FOLLOWED: [&str; 6] =
    ["linux-image-", "linux-modules-", "linux-binary-", "linux-base-", "linux-headers-", "linux-kbuild-"];

/// A kernel has at most a handful of packages; more means that we follow the wrong ones.
const MOST_PACKAGES: usize = 16;

/// The lock file with every group at its suite's current version. The caller writes it to
/// [`Lock::path`] and commits it.
///
/// # Errors
/// When a suite cannot be reached or lacks a package.
pub fn update(cache: &Cache) -> Result<Lock> {
    let mut lock = Lock::shipped()?;
    for group in &mut lock.group {
        let apt = Apt::open(cache, &group.suite, &group.arch)?;
        group.package = current(&apt, group)?;
    }
    Ok(lock)
}

/// The current packages of `group`, found through the dependencies of its root package.
pub(super) fn current(apt: &Apt, group: &Group) -> Result<Vec<Package>> {
    let mut seen = vec![group.root.clone()];
    let mut next = 0;
    let mut packages = Vec::new();
    while let Some(name) = seen.get(next).cloned() {
        next += 1;
        if next > MOST_PACKAGES {
            bail!("{} in {} leads to more than {MOST_PACKAGES} packages", group.root, group.suite);
        }
        let stanza = apt
            .show(&name)?
            .into_iter()
            .next()
            .with_context(|| format!("suite {} has no package {name} for {}", group.suite, group.arch))?;
        let followed = dependencies(&stanza);
        if followed.is_empty() || has_version_in_name(&stanza) {
            packages.push(package(&stanza)?);
        }
        for it in followed {
            if !seen.contains(&it) {
                seen.push(it);
            }
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Name, version and digest from a package list's paragraph.
pub(super) fn package(stanza: &Paragraph) -> Result<Package> {
    let field = |name: &str| {
        stanza.get(name).cloned().with_context(|| format!("a package list entry without {name}: {stanza:?}"))
    };
    Ok(Package { name: field("package")?, version: field("version")?, sha256: field("sha256")? })
}

fn dependencies(stanza: &Paragraph) -> Vec<String> {
    let Some(depends) = stanza.get("depends") else { return Vec::new() };
    depends
        .split(',')
        .filter_map(|it| it.split(['|', '(']).next())
        .map(|it| it.trim().to_owned())
        .filter(|it| FOLLOWED.iter().any(|prefix| it.starts_with(prefix)))
        .collect()
}

/// `linux-image-6.1.0-50-cloud-amd64` at 6.1.176-1 is a kernel; `linux-image-cloud-amd64` only points to one.
fn has_version_in_name(stanza: &Paragraph) -> bool {
    let (Some(name), Some(version)) = (stanza.get("package"), stanza.get("version")) else { return false };
    let mut parts = version.split('.');
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => name.contains(&format!("-{major}.{minor}")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(fields: &[(&str, &str)]) -> Paragraph {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_the_kernels_own_packages_are_followed() {
        let it = stanza(&[(
            "depends",
            "dracut | linux-initramfs-tool, linux-base (>= 4.3~), linux-modules-7.2 (= 7.2-1), linux-kbuild-7.2 (>= 7)",
        )]);
        assert_eq!(dependencies(&it), ["linux-modules-7.2", "linux-kbuild-7.2"]);
    }

    #[test]
    fn a_pointer_package_is_told_from_a_kernel() {
        assert!(has_version_in_name(&stanza(&[
            ("package", "linux-image-6.1.0-50-cloud-amd64"),
            ("version", "6.1.176-1")
        ])));
        assert!(!has_version_in_name(&stanza(&[
            ("package", "linux-image-cloud-amd64"),
            ("version", "6.1.176-1")
        ])));
    }
}
