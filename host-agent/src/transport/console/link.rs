//! The byte stream of a console: unix socket, TCP or a terminal device (pty, serial port).
//!
//! All three are non-blocking; a full pipe is `WouldBlock`, never a wait.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Where a console is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket that QEMU listens on.
    Unix(PathBuf),
    /// A TCP port that QEMU listens on.
    Tcp(SocketAddr),
    /// A pty that QEMU made, or a real serial port (115200 8N1).
    Tty(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) | Self::Tty(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// An open console.
#[derive(Debug)]
pub(super) enum Link {
    Unix(UnixStream),
    Tcp(TcpStream),
    /// `_port` holds the settings and the exclusive lock, the two others do the I/O (tokio's pipe ends
    /// take any descriptor that epoll takes).
    Tty {
        reader: pipe::Receiver,
        writer: pipe::Sender,
        _port: Box<serialport::TTYPort>,
    },
}

impl Link {
    /// Opens the console within `within`.
    pub(super) async fn open(address: &Address, within: Duration) -> io::Result<Self> {
        let opened = async {
            match address {
                Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(Self::Tcp(stream))
                }
                Address::Tty(path) => {
                    let path = path.clone();
                    // Opening a terminal can block on a modem line: off the reactor.
                    let both = tokio::task::spawn_blocking(move || open_tty(&path));
                    let (port, file) = both.await.map_err(io::Error::other)??;
                    let writer = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
                    let reader = pipe::Receiver::from_file_unchecked(file)?;
                    Ok(Self::Tty { reader, writer, _port: Box::new(port) })
                }
            }
        };
        timeout(within, opened).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Waits until it can be read, or written when `write` is set.
    pub(super) async fn ready(&self, write: bool) -> io::Result<()> {
        let interest = if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        match self {
            Self::Unix(stream) => stream.ready(interest).await.map(|_| ()),
            Self::Tcp(stream) => stream.ready(interest).await.map(|_| ()),
            Self::Tty { reader, writer, .. } if write => {
                tokio::select! {
                    ready = reader.readable() => ready,
                    ready = writer.writable() => ready,
                }
            }
            Self::Tty { reader, .. } => reader.readable().await,
        }
    }

    /// Reads what is there.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Tty { reader, .. } => match reader.try_read(buffer) {
                // A pty whose other end went gives EIO: the end.
                Err(e) if e.raw_os_error() == Some(nix::libc::EIO) => Ok(0),
                other => other,
            },
        }
    }

    /// Writes what fits.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Tty { writer, .. } => writer.try_write(bytes),
        }
    }

    /// Inode of a unix socket, to ask the kernel whether it was accepted.
    pub(super) fn unix_inode(&self) -> Option<u64> {
        use std::os::fd::AsRawFd;
        use std::os::linux::fs::MetadataExt;
        let Self::Unix(stream) = self else {
            return None;
        };
        let link = format!("/proc/self/fd/{}", stream.as_raw_fd());
        std::fs::metadata(link).ok().map(|m| m.st_ino())
    }
}

/// Sets the terminal raw through `serialport`, which would then block on writes: the I/O goes through
/// a second, non-blocking opening of the same device.
fn open_tty(path: &Path) -> io::Result<(serialport::TTYPort, File)> {
    let name = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let mut port =
        serialport::new(name, 115_200).exclusive(false).timeout(Duration::from_millis(1)).open_native()?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    port.set_exclusive(true)?;
    Ok((port, file))
}
