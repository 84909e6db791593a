//! Targets: the guests of this host, who they are and the ways to reach them.
//!
//! * [`discover`] looks once, [`Finder`] again and again.
//! * Three ways: `[[guest]]` entries, EVE's folders, QEMU's command lines in `/proc`. What several ways say
//!   of one guest is put together; the more trusted one's words stand.
//! * A way of reaching it that cannot be used is kept with the reason ([`Target::transports`]).

mod chardev;
mod cmdline;
mod draft;
mod eve;
mod find;
mod from_config;
mod from_proc;
mod options;
mod process;
mod pty;
mod reach;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;
use vmward_model::{GuestId, Incarnation, TransportStatus};

pub use find::{Finder, discover};
pub use from_proc::OWN_SOCKET;

use crate::config::{ConsoleKind, QmpPolicy};

/// What a search gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Discovered {
    /// The guests, by name.
    pub targets: Vec<Target>,
    /// What went wrong with the search as a whole.
    pub problems: Vec<String>,
}

/// One guest, as found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Target {
    /// Who it is.
    pub id: GuestId,
    /// Its UUID, where it was given one.
    pub uuid: Option<Uuid>,
    /// Its name. Comes from a command line or a folder: escape before showing.
    pub name: String,
    /// Which life of it; absent when no process was found for it.
    pub incarnation: Option<Incarnation>,
    /// Its monitor, when it can be used.
    pub qmp: Option<QmpAddress>,
    /// Its console, when it can be used: the first one found, a UART before a virtconsole.
    pub console: Option<ConsoleAddress>,
    /// Files and devices of its disks, as on the command line.
    pub disks: Vec<String>,
    /// How it was found, best way first.
    pub found_by: Vec<FoundBy>,
    /// Every way to reach it, usable or not, with the reason.
    pub transports: Vec<TransportStatus>,
    /// What went wrong while looking at it.
    pub problems: Vec<String>,
}

impl Target {
    /// Process id of its QEMU, when there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.incarnation.map(|it| it.pid)
    }
}

/// A way to find guests. The order is the order of trust when two disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// A `[[guest]]` of `vmward.toml`.
    Config,
    /// EVE's folder of the guest.
    Eve,
    /// A QEMU process in `/proc`.
    Proc,
}

impl FoundBy {
    /// The name in reports and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Eve => "eve",
            Self::Proc => "proc",
        }
    }
}

/// A QMP socket and how it may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct QmpAddress {
    /// The unix socket.
    pub path: PathBuf,
    /// How it may be used.
    pub policy: QmpPolicy,
}

/// A console and what must be known to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConsoleAddress {
    /// Where it is.
    pub at: ConsoleAt,
    /// What device it is.
    pub kind: ConsoleKind,
    /// Whether QEMU runs a multiplexer on it, whose escape byte (0x01) must be doubled.
    pub mux: bool,
    /// QEMU's id of the character device.
    pub chardev: Option<String>,
    /// QEMU's log file of the character device.
    pub logfile: Option<PathBuf>,
}

/// Where a console is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleAt {
    /// A unix socket that QEMU listens on.
    Unix(PathBuf),
    /// A TCP port that QEMU listens on.
    Tcp(SocketAddr),
    /// A pty that QEMU made, or a serial port.
    Tty(PathBuf),
}
