//! The parts a guest can be given: memory, disks, serial lines.

use std::path::PathBuf;

/// What backs the guest's RAM. Sizes are MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A shared memfd (`memory-backend-memfd,share=on`): another process can read it through
    /// `/proc/PID/fd` without making pages.
    Memfd(u32),
    /// Ordinary anonymous memory, as `-m` alone gives.
    Anonymous(u32),
}

impl Memory {
    /// A shared memfd of `mib` MiB.
    pub fn memfd(mib: u32) -> Self {
        Self::Memfd(mib)
    }

    /// Anonymous memory of `mib` MiB.
    pub fn anonymous(mib: u32) -> Self {
        Self::Anonymous(mib)
    }

    /// The size in MiB.
    pub fn mib(self) -> u32 {
        match self {
            Self::Memfd(mib) | Self::Anonymous(mib) => mib,
        }
    }
}

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A raw file that QEMU opens itself.
    File(PathBuf),
    /// A throw-away overlay over this raw file (`snapshot=on`); the file stays as it is.
    Overlay(PathBuf),
    /// A copy of this raw file, made in the guest's folder at each start.
    CopyOf(PathBuf),
    /// A copy of this raw file, served by the fixture's own NBD server over a unix socket.
    NbdCopyOf(PathBuf),
    /// An export of somebody else's NBD server.
    NbdSocket {
        /// The server's unix socket.
        socket: PathBuf,
        /// The export's name.
        export: String,
    },
}

/// QEMU's own limits on a disk (`throttling.*` of `-drive`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Bytes a second, reads and writes together.
    pub bytes_per_second: Option<u64>,
    /// Requests a second, reads and writes together.
    pub requests_per_second: Option<u64>,
}

/// One virtio disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The drive's id and the NBD export's name: by convention the guest's name for it (`vda`).
    pub name: String,
    /// Its bytes.
    pub source: Source,
    /// Its limits.
    pub throttle: Throttle,
}

impl Disk {
    /// A disk named `name` on `source`, without limits.
    pub fn new(name: &str, source: Source) -> Self {
        Self { name: name.to_owned(), source, throttle: Throttle::default() }
    }

    /// A private copy of `image`, opened by QEMU itself.
    pub fn copy_of(name: &str, image: impl Into<PathBuf>) -> Self {
        Self::new(name, Source::CopyOf(image.into()))
    }

    /// A private copy of `image` behind the fixture's NBD server, which can fall silent.
    pub fn nbd(name: &str, image: impl Into<PathBuf>) -> Self {
        Self::new(name, Source::NbdCopyOf(image.into()))
    }

    /// Limits the disk to `bytes` a second.
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.throttle.bytes_per_second = Some(bytes);
        self
    }

    /// Limits the disk to `requests` a second.
    pub fn requests_per_second(mut self, requests: u64) -> Self {
        self.throttle.requests_per_second = Some(requests);
        self
    }
}

/// How the guest's console is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    pub(super) line: Line,
    pub(super) path: Option<PathBuf>,
    pub(super) mux: bool,
    pub(super) hvc: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Unix,
    Tcp,
    Pty,
}

impl Serial {
    fn on(line: Line) -> Self {
        Self { line, path: None, mux: false, hvc: false }
    }

    /// A unix socket `console.sock` in the guest's folder.
    pub fn unix_socket() -> Self {
        Self::on(Line::Unix)
    }

    /// A unix socket at a path of the caller's, for layouts of others.
    pub fn unix_socket_at(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::on(Line::Unix) }
    }

    /// TCP on 127.0.0.1 at a free port.
    pub fn tcp() -> Self {
        Self::on(Line::Tcp)
    }

    /// A pseudo-terminal.
    pub fn pty() -> Self {
        Self::on(Line::Pty)
    }

    /// Makes the chardev a multiplexer: 0x01 becomes QEMU's escape character.
    pub fn mux(mut self) -> Self {
        self.mux = true;
        self
    }

    /// Puts the console on a virtio console (`hvc0`) instead of the machine's UART.
    pub fn hvc(mut self) -> Self {
        self.hvc = true;
        self
    }
}
