//! `vmward-controller backup TO`: a copy of database and artifacts that belong together, made while
//! the controller runs. It is there whole or not at all, and a controller can be started on it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use vmward_model::Digest;

use crate::artifacts::place;
use crate::store::{FILE, Store, sqlite};

/// Artifacts that are looked up at once.
const ROWS: u32 = 1000;

/// Copies the data folder `from` to `to`, which must not be there, and prints what the copy holds.
///
/// # Errors
/// When something cannot be read or written, or is not what its name says. Nothing is left then.
pub async fn run(from: &Path, to: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let database = from.join(FILE);
    anyhow::ensure!(database.is_file(), "there is no controller's database in {}", from.display());
    anyhow::ensure!(std::fs::symlink_metadata(to).is_err(), "{} is there already", to.display());
    let name = to.file_name().with_context(|| format!("{} is no name for a folder", to.display()))?;
    let parent = to.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".part-{}", std::process::id()));
    let part = Part(parent.join(part));
    folder(&part.0)?;
    sqlite::copy(&database, &part.0.join(FILE)).await.context("while copying the database")?;
    // What is in the copy decides, whatever came in since.
    let store = Store::open(&part.0).await.context("while opening the copy")?;
    let copied = artifacts(&store, from, &part.0).await;
    let held = store.totals().await;
    store.close().await;
    let (count, bytes) = copied?;
    sync(&part.0.join(FILE))?;
    sync(&part.0)?;
    std::fs::rename(&part.0, to).with_context(|| format!("while renaming to {}", to.display()))?;
    sync(parent)?;
    let held = held?;
    writeln!(
        out,
        "{}: {} hosts, {} guests, {} incidents, {} reports, {} events, {count} artifacts of {bytes} bytes",
        to.display(),
        held.hosts,
        held.guests,
        held.incidents,
        held.reports,
        held.events
    )?;
    Ok(())
}

/// A folder that is gone in the end, unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Where it was renamed there is nothing to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn artifacts(store: &Store, from: &Path, to: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut after, mut count, mut bytes) = (String::new(), 0u64, 0u64);
    loop {
        let rows = store.artifacts_after(&after, ROWS).await?;
        let Some((last, _)) = rows.last() else { break };
        last.as_str().clone_into(&mut after);
        for (digest, size) in rows {
            let place = place(&digest);
            copy(&digest, &from.join(&place), &to.join(&place))
                .with_context(|| format!("while copying artifact {digest}"))?;
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(size);
        }
    }
    if let Ok(folders) = std::fs::read_dir(to.join("artifacts")) {
        for it in folders {
            sync(&it?.path())?;
        }
        sync(&to.join("artifacts"))?;
    }
    Ok((count, bytes))
}

/// Copies a file, synced, if it is what its name says.
fn copy(digest: &Digest, from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        folder(parent)?;
    }
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = std::io::Read::read(&mut source, &mut buffer)?;
        let piece = buffer.get(..n).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        hash.update(piece);
        target.write_all(piece)?;
    }
    target.sync_all()?;
    anyhow::ensure!(Digest::from_bytes(&hash.finalize().into()) == *digest, "its content is another");
    Ok(())
}

fn folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("while making {}", path.display()))
}

fn sync(path: &Path) -> anyhow::Result<()> {
    File::open(path).and_then(|it| it.sync_all()).with_context(|| format!("while syncing {}", path.display()))
}
