//! Builds the kernel module of the fault `abba` from `qemu-fixtures/abba/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, sha256};
use crate::kernels::Kernel;

const SOURCES: [(&str, &str); 2] =
    [("Makefile", include_str!("../abba/Makefile")), ("abba.c", include_str!("../abba/abba.c"))];

/// The module for `kernel`, from the cache or built now against the kernel's pinned headers.
///
/// # Errors
/// When there are no headers, or no compiler.
pub fn module(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    build_module(cache, kernel, "abba", &SOURCES)
}

/// The module `name` for `kernel`, from the cache or built now from its files' names and texts.
///
/// # Errors
/// When there are no headers, or no compiler.
pub(crate) fn build_module(
    cache: &Cache,
    kernel: &Kernel,
    name: &str,
    sources: &[(&str, &str)],
) -> Result<PathBuf> {
    let all: String = sources.iter().map(|(_, text)| *text).collect();
    let key = format!("{name}/{}-{}.ko", kernel.version, &sha256(all.as_bytes())[..16]);
    cache.entry(&key, |path| {
        let headers = cache.kernel_headers(&kernel.name)?;
        let work = tempfile::tempdir()?;
        for (name, text) in sources {
            fs::write(work.path().join(name), text)?;
        }
        let output = Command::new("make")
            .arg("-C")
            .arg(&headers)
            .arg(format!("M={}", work.path().display()))
            .arg("modules")
            // A make above us must not hand its options down.
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .output()
            .context("cannot run make: install the packages make and gcc")?;
        if !output.status.success() {
            bail!(
                "cannot build {name}.ko for {}:\n{}",
                kernel.version,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        fs::copy(work.path().join(format!("{name}.ko")), path)
            .with_context(|| format!("make built no {name}.ko"))?;
        Ok(())
    })
}
