//! Disk images for guests: the patient's data disk and empty ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;

/// Size of the patient's data disk, bytes.
pub const DATA_SIZE: u64 = 64 << 20;

/// A raw ext4 image of [`DATA_SIZE`], made once. Never hand it to a guest for writing (use it with
/// QEMU's `snapshot=on`, or take a copy by [`data_disk_in`]).
///
/// # Errors
/// When `mke2fs` is missing or fails.
pub fn data_disk(cache: &Cache) -> Result<PathBuf> {
    cache.entry("disk/data-v1.img", |path| {
        File::create(path)?.set_len(DATA_SIZE)?;
        // mke2fs is in /usr/sbin, which is not in everybody's PATH.
        let tools = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let output = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", "data", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(path)
            .env("PATH", tools)
            .output()
            .context("cannot run mke2fs: install the package e2fsprogs")?;
        if !output.status.success() {
            bail!("mke2fs failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    })
}

/// A fresh copy of the data disk as `data.img` in `folder`; whoever owns the folder removes it.
///
/// # Errors
/// When the image cannot be made or copied.
pub fn data_disk_in(cache: &Cache, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("data.img");
    fs::copy(data_disk(cache)?, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// An empty sparse image of `size` bytes called `name` in `folder`.
///
/// # Errors
/// When it cannot be created.
pub fn blank_disk_in(folder: &Path, name: &str, size: u64) -> Result<PathBuf> {
    let path = folder.join(name);
    File::create(&path)
        .and_then(|it| it.set_len(size))
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_data_disk_is_ext4() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let path = data_disk_in(&cache, dir.path()).unwrap();
        let mut magic = [0; 2];
        // The superblock starts at 1024, s_magic at 0x38 in it.
        File::open(path).unwrap().read_exact_at(&mut magic, 1024 + 0x38).unwrap();
        assert_eq!(u16::from_le_bytes(magic), 0xef53);
    }
}
