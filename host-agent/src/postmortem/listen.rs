//! Where gdb comes in: a unix socket that only its owner may use, or a port of 127.0.0.1.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use thiserror::Error;
use uuid::Uuid;

use super::Snapshot;
use super::session::{Ended, Stream, serve, wait};

/// The socket's name in its folder.
const SOCKET: &str = "gdb.sock";
/// How long an answer may wait for a peer that does not read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `gdb.sock` in this folder.
    Folder(PathBuf),
    /// `gdb.sock` in a new folder of the runtime directory, which is removed afterwards.
    FreshFolder,
    /// A port of 127.0.0.1; 0 for any that is free.
    Port(u16),
}

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The place to listen cannot be made.
    #[error("cannot listen at {place}")]
    Listen {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("while serving gdb")]
    Serve(#[from] io::Error),
}

/// What listens.
#[derive(Debug)]
pub enum Door {
    /// A unix socket.
    Unix(UnixListener),
    /// A port.
    Port(TcpListener),
}

/// Serves one gdb. What it made on disk goes with it.
#[derive(Debug)]
pub struct Server {
    door: Door,
    address: String,
    signals: SignalFd,
    socket: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Server {
    /// Listens. From here on SIGINT and SIGTERM end [`Self::serve`].
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn listen(place: &Place) -> Result<Self, ServeError> {
        let failed = |place: String| |source| ServeError::Listen { place, source };
        let signals = signals().map_err(failed("the signals".to_owned()))?;
        let (folder, fresh) = match place {
            Place::Port(port) => {
                let wanted = format!("127.0.0.1:{port}");
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
                let listener = listener.map_err(failed(wanted.clone()))?;
                let address = listener.local_addr().map_err(failed(wanted))?.to_string();
                return Ok(Self { door: Door::Port(listener), address, signals, socket: None, folder: None });
            }
            Place::Folder(folder) => (folder.clone(), false),
            Place::FreshFolder => {
                let folder = runtime_folder().join(format!("vmward-gdb-{}", Uuid::new_v4().simple()));
                let made = DirBuilder::new().mode(0o700).create(&folder);
                made.map_err(failed(folder.display().to_string()))?;
                (folder, true)
            }
        };
        let socket = folder.join(SOCKET);
        let bound = bind(&socket);
        if bound.is_err() && fresh {
            let _ = fs::remove_dir(&folder);
        }
        let listener = bound.map_err(failed(socket.display().to_string()))?;
        let address = socket.display().to_string();
        let folder = fresh.then_some(folder);
        Ok(Self { door: Door::Unix(listener), address, signals, socket: Some(socket), folder })
    }

    /// What `target remote` wants.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for a gdb and answers it until it leaves. Who breaks off, or is no gdb, is followed by the next.
    ///
    /// # Errors
    /// [`ServeError::Serve`].
    pub fn serve(&self, snapshot: &mut Snapshot<'_, '_>) -> Result<Ended, ServeError> {
        loop {
            let ready = match &self.door {
                Door::Unix(it) => wait(it, &self.signals)?,
                Door::Port(it) => wait(it, &self.signals)?,
            };
            if !ready {
                return Ok(Ended::Told);
            }
            let ended = match &self.door {
                Door::Unix(it) => {
                    let (stream, _) = it.accept()?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    self.session(&stream, snapshot)
                }
                Door::Port(it) => {
                    let (stream, _) = it.accept()?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    stream.set_nodelay(true)?;
                    self.session(&stream, snapshot)
                }
            };
            match ended {
                Ok(Ended::Closed { asked: false }) => {}
                Ok(Ended::Closed { asked: true }) => {
                    tracing::warn!("gdb went away without a word: it may come again");
                }
                Ok(Ended::Nonsense(what)) => tracing::warn!("a peer was sent away: {what}"),
                // A peer that broke off is no failure of ours.
                Err(error) => tracing::warn!("the connection broke: {error}"),
                Ok(ended) => return Ok(ended),
            }
        }
    }

    fn session(&self, stream: &dyn Stream, snapshot: &mut Snapshot<'_, '_>) -> io::Result<Ended> {
        serve(stream, &self.signals, snapshot)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let socket = self.socket.as_deref().map(|it| (it, fs::remove_file(it)));
        let folder = self.folder.as_deref().map(|it| (it, fs::remove_dir(it)));
        for (path, removed) in socket.into_iter().chain(folder) {
            if let Err(error) = removed {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// A socket that only its owner may use, from its first moment.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

fn runtime_folder() -> PathBuf {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|it| it.is_dir());
    named.unwrap_or_else(std::env::temp_dir)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::listen(&Place::Folder(folder.path().to_owned())).unwrap();
        let socket = PathBuf::from(server.address());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        // One is enough: who comes second is told where it is.
        let second = Server::listen(&Place::Folder(folder.path().to_owned()));
        assert!(second.unwrap_err().to_string().contains("gdb.sock"));
        drop(server);
        assert!(!socket.exists());
    }

    #[test]
    fn a_port_is_not_reached_from_other_hosts() {
        let server = Server::listen(&Place::Port(0)).unwrap();
        assert!(server.address().starts_with("127.0.0.1:"));
    }
}
