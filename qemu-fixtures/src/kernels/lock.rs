//! `kernels.lock`: which Debian packages the fixtures use, with versions and digests.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cache::sha256;

const SHIPPED: &str = include_str!("../../kernels.lock");

const HEADER: &str = "# Debian packages of the fixtures: kernels, headers, busybox.\n\
    # Written by `cargo xtask fixtures update`; a change here is a commit of its own.\n";

/// The whole lock file.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// One for each thing that is fetched as a unit.
    pub group: Vec<Group>,
}

/// Packages that are fetched and unpacked together.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The fixtures' name, such as `amd64-6.1`.
    pub name: String,
    /// Debian suite, such as `bookworm`.
    pub suite: String,
    /// Debian architecture.
    pub arch: String,
    /// The package whose dependencies name the current packages.
    pub root: String,
    /// What is unpacked, in this order.
    #[serde(default)]
    pub package: Vec<Package>,
}

/// One `.deb`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name, without architecture.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// SHA-256 of the `.deb`, lower-case hexadecimal.
    pub sha256: String,
}

impl Lock {
    /// The lock file as it was when this program was built.
    ///
    /// # Errors
    /// When it is not a valid lock file.
    pub fn shipped() -> Result<Self> {
        Self::parse(SHIPPED)
    }

    /// Reads a lock file's text.
    ///
    /// # Errors
    /// When it is not a valid lock file; the error has line and column.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("cannot read qemu-fixtures/kernels.lock")
    }

    /// The group called `name`.
    ///
    /// # Errors
    /// When the lock file has none of that name.
    pub fn group(&self, name: &str) -> Result<&Group> {
        self.group
            .iter()
            .find(|it| it.name == name)
            .with_context(|| format!("kernels.lock pins nothing called {name:?}"))
    }

    /// The text to commit.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn to_text(&self) -> Result<String> {
        Ok(format!("{HEADER}\n{}", toml::to_string(self)?))
    }

    /// Where the lock file is in the source tree that this program was built from.
    #[must_use]
    pub fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels.lock")
    }
}

impl Group {
    /// The cache key: changes when anything pinned changes.
    #[must_use]
    pub fn key(&self) -> String {
        let pinned: String = self.package.iter().map(|it| format!("{it:?}")).collect();
        format!("packages/{}-{}", self.name, &sha256(pinned.as_bytes())[..12])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_in_the_form_that_update_writes() {
        let lock = Lock::shipped().unwrap();
        assert_eq!(lock.to_text().unwrap(), SHIPPED);
    }

    #[test]
    fn the_key_follows_the_digests() {
        let mut group = Lock::shipped().unwrap().group[0].clone();
        let before = group.key();
        group.package[0].sha256 = "0".repeat(64);
        assert_ne!(group.key(), before);
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        assert!(Lock::parse("[[group]]\nname='a'\nsuite='b'\narch='amd64'\nroot='c'\nsum='d'").is_err());
    }
}
