//! A disk server (NBD newstyle over a unix socket) that can be slow or fall silent.
//!
//! A guest's disk is served from a raw file. [`NbdServer::swallow`] makes an export take requests
//! and answer none, which is what a dead storage network looks like to QEMU; the swallowed
//! requests are kept, and [`NbdServer::resume`] answers them, as a network that came back would.
//!
//! Protocol: the NBD project's `doc/proto.md` (fixed newstyle; simple replies only).

mod handshake;
mod transmission;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use transmission::{Parked, serve};

/// One disk that is served.
#[derive(Debug)]
pub(crate) struct Export {
    file: File,
    size: u64,
    behaviour: Mutex<Behaviour>,
}

#[derive(Debug, Default)]
struct Behaviour {
    silent: bool,
    delay: Duration,
    parked: Vec<Parked>,
    answered: u64,
}

impl Export {
    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Exports = BTreeMap<String, Arc<Export>>;

/// A running server; it ends, and closes its connections, when dropped.
#[derive(Debug)]
pub struct NbdServer {
    socket: PathBuf,
    exports: Exports,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    stopping: Arc<AtomicBool>,
}

impl NbdServer {
    /// Serves each `(name, raw file)` on `socket`, until dropped.
    pub fn start(socket: &Path, disks: impl IntoIterator<Item = (String, PathBuf)>) -> io::Result<Self> {
        let mut exports = Exports::new();
        for (name, path) in disks {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let size = file.metadata()?.len();
            let behaviour = Mutex::default();
            exports.insert(name, Arc::new(Export { file, size, behaviour }));
        }
        let listener = UnixListener::bind(socket)?;
        let server = Self {
            socket: socket.to_path_buf(),
            exports: exports.clone(),
            connections: Arc::default(),
            stopping: Arc::default(),
        };
        let connections = Arc::clone(&server.connections);
        let stopping = Arc::clone(&server.stopping);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Ok(handle) = stream.try_clone() {
                    connections.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                }
                let exports = exports.clone();
                // The end of a connection, clean or not, is the client's affair.
                std::thread::spawn(move || connection(stream, &exports));
            }
        });
        Ok(server)
    }

    /// From now on, requests to `export` are read and not answered.
    pub fn swallow(&self, export: &str) -> io::Result<()> {
        self.export(export)?.behaviour().silent = true;
        Ok(())
    }

    /// Answers what was swallowed, in order, and everything after it.
    pub fn resume(&self, export: &str) -> io::Result<()> {
        let export = self.export(export)?;
        let mut behaviour = export.behaviour();
        behaviour.silent = false;
        for parked in std::mem::take(&mut behaviour.parked) {
            // A client that left meanwhile no longer wants its answer.
            let _left = parked.answer(export);
            behaviour.answered += 1;
        }
        Ok(())
    }

    /// Makes each request to `export` wait this long before it is answered.
    pub fn delay(&self, export: &str, delay: Duration) -> io::Result<()> {
        self.export(export)?.behaviour().delay = delay;
        Ok(())
    }

    /// How many requests to `export` are swallowed now.
    pub fn swallowed(&self, export: &str) -> io::Result<usize> {
        Ok(self.export(export)?.behaviour().parked.len())
    }

    /// How many requests to `export` were answered.
    pub fn answered(&self, export: &str) -> io::Result<u64> {
        Ok(self.export(export)?.behaviour().answered)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn export(&self, name: &str) -> io::Result<&Arc<Export>> {
        self.exports
            .get(name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no NBD export `{name}`")))
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread, which then sees the flag.
        let _woken = UnixStream::connect(&self.socket);
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in connections.iter() {
            let _closed = stream.shutdown(Shutdown::Both);
        }
        let _removed = std::fs::remove_file(&self.socket);
    }
}

fn connection(mut stream: UnixStream, exports: &Exports) -> io::Result<()> {
    match handshake::negotiate(&mut stream, exports)? {
        Some(export) => serve(stream, &export),
        None => Ok(()),
    }
}
