//! The opener's side: one thread a connection, few at once, each with a deadline on its socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};

use super::{MAX_LINE, Reply, Request, target};
use crate::descriptor;

/// Requests in work at once. A read that the kernel holds keeps its place until it returns.
const MAX_AT_ONCE: usize = 32;
/// Deadline of each wait on a socket.
const SOCKET_WAIT: Duration = Duration::from_secs(2);

/// Who may ask, and where.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where to listen when the service manager passed no socket.
    pub socket: PathBuf,
    /// User ids that may ask, beside our own.
    pub users: Vec<u32>,
}

/// Why the opener cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No socket to listen on.
    #[error("cannot listen on {path}: give --socket a path in a folder that the opener may write to")]
    Listen {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A protection could not be set up.
    #[error("cannot give up {what}")]
    Harden {
        /// Which.
        what: &'static str,
        /// The cause.
        source: nix::Error,
    },
}

/// Serves until the process is ended. Takes the socket of the service manager where there is one.
///
/// # Errors
/// [`ServeError`], before the first request only.
pub fn serve(policy: &Policy) -> Result<std::convert::Infallible, ServeError> {
    harden()?;
    let listener = match descriptor::activated() {
        Some(listener) => listener,
        None => listen(policy)?,
    };
    let mut users = policy.users.clone();
    users.push(nix::unistd::geteuid().as_raw());
    accept_all(&listener, &users.into(), target::qemu_name)
}

fn listen(policy: &Policy) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { path: policy.socket.clone(), source };
    match std::fs::remove_file(&policy.socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(&policy.socket).map_err(failed)?;
    // Anybody may connect and is then asked for their user id.
    let open = std::fs::Permissions::from_mode(if policy.users.is_empty() { 0o600 } else { 0o666 });
    std::fs::set_permissions(&policy.socket, open).map_err(failed)?;
    Ok(listener)
}

/// No core dump and no debugger of an ordinary user sees our memory, no program that we might start
/// gains rights, and no file can grow by us.
fn harden() -> Result<(), ServeError> {
    let failed = |what| move |source| ServeError::Harden { what, source };
    nix::sys::prctl::set_no_new_privs().map_err(failed("new privileges"))?;
    nix::sys::prctl::set_dumpable(false).map_err(failed("core dumps"))?;
    // A sealed copy of a text file is the largest thing that is ever written.
    let bytes = 1 << 20;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE, bytes, bytes)
        .map_err(failed("large files"))
}

pub(super) fn accept_all(listener: &UnixListener, users: &Arc<[u32]>, qemu: fn(&str) -> bool) -> ! {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let place = Place::take(&busy);
        let users = Arc::clone(users);
        let begun = std::thread::Builder::new().name("open".into()).spawn(move || {
            let answer = match place {
                Some(_) => one(&stream, &users, qemu),
                None => refuse(&stream, "too many requests have not returned"),
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "a client left before its answer");
            }
            drop(place);
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "cannot start a thread for a request");
        }
    }
}

struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(busy: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(Arc::clone(busy));
        (busy.fetch_add(1, Ordering::AcqRel) < MAX_AT_ONCE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn one(stream: &UnixStream, users: &[u32], qemu: fn(&str) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(SOCKET_WAIT))?;
    stream.set_write_timeout(Some(SOCKET_WAIT))?;
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    if !users.contains(&peer.uid()) {
        tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refused a user who may not ask");
        return refuse(stream, "your user may not ask the opener: see --user");
    }
    let mut buffer = [0; MAX_LINE];
    let (length, _) = descriptor::receive(stream, &mut buffer)?;
    let Ok(request) = serde_json::from_slice::<Request>(buffer.get(..length).unwrap_or_default()) else {
        return refuse(stream, "that is no request");
    };
    match target::open_for(&request, &qemu) {
        Ok(fd) => answer(stream, &Reply::default(), Some(&fd)),
        Err(why) => {
            tracing::debug!(pid = request.pid, file = ?request.file, why, "refused");
            refuse(stream, &why)
        }
    }
}

fn refuse(stream: &UnixStream, why: &str) -> io::Result<()> {
    let short: String = why.chars().take(500).collect();
    answer(stream, &Reply { refused: Some(short) }, None)
}

fn answer(stream: &UnixStream, reply: &Reply, fd: Option<&std::os::fd::OwnedFd>) -> io::Result<()> {
    let fds: Vec<_> = fd.into_iter().map(std::os::fd::AsFd::as_fd).collect();
    descriptor::send(stream, &serde_json::to_vec(reply)?, &fds)
}
