//! Keeps one small document on disk up to date without ever making its owner wait for the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::durable;

/// The newest version of a document is always being written; older ones may be skipped.
#[derive(Debug)]
pub struct Scribe<T> {
    newest: watch::Sender<(u64, Option<Arc<T>>)>,
    written: watch::Receiver<u64>,
}

impl<T: Serialize + Send + Sync + 'static> Scribe<T> {
    /// For the file at `path`, in a folder that exists. Ends when dropped, after the last write.
    pub fn new(path: PathBuf) -> Scribe<T> {
        let (newest, mut wanted) = watch::channel((0, None::<Arc<T>>));
        let (tell, written) = watch::channel(0);
        tokio::spawn(async move {
            while wanted.changed().await.is_ok() {
                let (number, document) = wanted.borrow_and_update().clone();
                let path = path.clone();
                let write = move || match document {
                    Some(it) => serde_json::to_vec(&*it)
                        .map_err(std::io::Error::from)
                        .and_then(|bytes| durable::write(&path, &bytes))
                        .map_err(|error| format!("cannot write {}: {error}", path.display())),
                    None => Ok(()),
                };
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!("{error}"),
                    Err(error) => tracing::error!("writing a state file failed: {error}"),
                }
                tell.send_replace(number);
            }
        });
        Scribe { newest, written }
    }

    /// One that writes nothing.
    pub fn nowhere() -> Scribe<T> {
        let (newest, _) = watch::channel((0, None));
        let (_, written) = watch::channel(u64::MAX);
        Scribe { newest, written }
    }

    /// Puts a new version on its way to disk.
    pub fn put(&self, document: T) {
        self.newest.send_modify(|it| *it = (it.0.wrapping_add(1), Some(Arc::new(document))));
    }

    /// Waits until the newest version was written (or the disk refused), at most `deadline`.
    pub async fn flushed(&self, deadline: Duration) -> bool {
        let number = self.newest.borrow().0;
        let mut written = self.written.clone();
        let wait = written.wait_for(|it| *it >= number);
        matches!(tokio::time::timeout(deadline, wait).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_version_is_on_disk_once_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.json");
        let scribe = Scribe::new(path.clone());
        for n in 0..100u32 {
            scribe.put(n);
        }
        assert!(scribe.flushed(Duration::from_secs(20)).await);
        assert_eq!(std::fs::read(&path).unwrap(), b"99");
    }
}
