//! Ways to reach a guest, and why one cannot be used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One way to reach a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// QEMU's monitor protocol.
    Qmp,
    /// The guest's serial console.
    Console,
    /// QEMU's gdb stub.
    Gdb,
    /// Guest-physical memory, read from the host.
    Memory,
    /// The host's own view: `/proc`, cgroups, devices.
    Host,
}

impl TransportKind {
    /// The name used in configuration, reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            TransportKind::Qmp => "qmp",
            TransportKind::Console => "console",
            TransportKind::Gdb => "gdb",
            TransportKind::Memory => "memory",
            TransportKind::Host => "host",
        }
    }
}

/// Whether a transport can be used just now, and if not, why and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransportStatus {
    /// Which way it is.
    pub kind: TransportKind,
    /// Where it is: a socket path, a device, `host:port`, or a description.
    pub address: String,
    /// How it was found: `config`, `proc` or `eve`.
    pub found_by: String,
    /// Absent when it can be used; else why not and what would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
