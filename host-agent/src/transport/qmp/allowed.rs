//! Which command may be sent on which rung of the safety ladder, as types.
//!
//! * [`Allowed`] (L1): the allow-list. These neither stop, drain nor touch an image file.
//! * [`WhenHealthy`]: they fstat image files inside QEMU and can wedge on a dead NFS or FUSE file, so
//!   they are asked once, when the guest is first seen healthy; needs a [`HealthyPermit`].
//! * [`Pauses`] (L2): stop, dump; needs an [`L2Permit`], which only the guest's opt-in gives. They are
//!   sent by the guardian process alone (see `crate::guardian`).
//! * [`Touches`] (L3): they change the guest; needs an [`L3Permit`].
//!
//! The traits are sealed: a caller cannot add `stop` to the list, and a command on no list does not
//! compile:
//!
//! ```compile_fail
//! async fn by_accident(qmp: &vmward::transport::qmp::Qmp) {
//!     let soon = std::time::Duration::from_secs(1);
//!     let _ = qmp.ask(qapi::qmp::stop {}, soon).await;
//! }
//! ```
//!
//! The human monitor is reached only through [`HmpRead`] and [`HmpGdbServer`]: there is no way to send
//! a free line.

use qapi::{Command, qmp};

mod sealed {
    pub trait Sealed {}
}

/// A command of rung L1.
pub trait Allowed: Command + sealed::Sealed {}
/// A command that is asked only while the guest is seen healthy.
pub trait WhenHealthy: Command + sealed::Sealed {}
/// A command of rung L2.
pub trait Pauses: Command + sealed::Sealed {}
/// A command of rung L3.
pub trait Touches: Command + sealed::Sealed {}

macro_rules! on_rung {
    ($rung:ident: $($command:ident),+ $(,)?) => {
        $(impl sealed::Sealed for qmp::$command {}
          impl $rung for qmp::$command {})+
    };
}

// The list of the safety ladder, word for word. A new entry comes only with an strace test on a silent
// NBD disk.
on_rung!(Allowed:
    query_status, query_cpus_fast, query_memdev, query_blockstats,
    x_query_virtio, x_query_virtio_status, x_query_virtio_queue_status,
    x_query_virtio_vhost_queue_status, x_query_virtio_queue_element,
    query_version, query_name, query_uuid, query_target, query_chardev, query_migrate, query_jobs,
);
on_rung!(WhenHealthy: query_block, query_named_block_nodes);
on_rung!(Pauses: stop, cont, dump_guest_memory, getfd, closefd);
on_rung!(Touches: chardev_send_break, send_key, inject_nmi);

/// The guest was seen healthy a moment ago.
#[derive(Debug, Clone, Copy)]
pub struct HealthyPermit(());

impl HealthyPermit {
    /// For the one place that has just seen all probes of the guest pass.
    #[must_use]
    pub fn seen_healthy() -> Self {
        Self(())
    }
}

/// The guest's owner opted in to rung L2.
#[derive(Debug, Clone)]
pub struct L2Permit {
    why: String,
}

impl L2Permit {
    /// `why` names the policy that allows it (file and guest); it goes into the provenance.
    #[must_use]
    pub fn opted_in(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }

    /// The policy that allows it.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// The guest's policy allows rung L3.
#[derive(Debug, Clone)]
pub struct L3Permit {
    why: String,
}

impl L3Permit {
    /// `why` names the policy that allows it (file and guest); it goes into the provenance.
    #[must_use]
    pub fn allowed(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }

    /// The policy that allows it.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// Commands of the human monitor on rung L1 (QEMU `docs/system/monitor`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HmpRead {
    /// `info registers -a`: all vCPUs as text. On KVM it kicks each vCPU: never while a vCPU thread is
    /// stuck in the host kernel (the caller checks).
    RegistersAll,
    /// `info mtree -f`: the flat map of guest-physical memory.
    MemoryTree,
    /// `info ramblock`: RAM blocks with their host addresses.
    RamBlocks,
    /// `gpa2hva ADDRESS`: host-virtual address of a guest-physical one.
    HostAddress(u64),
    /// `xp /COUNTbx ADDRESS`: guest-physical bytes; at most [`HmpRead::MAX_BYTES`].
    PhysicalBytes {
        /// Guest-physical address; must be RAM, a device register may act on a read.
        address: u64,
        /// How many bytes.
        count: u16,
    },
}

impl HmpRead {
    /// Most bytes of one `xp`: it formats under QEMU's big lock.
    pub const MAX_BYTES: u16 = 1024;

    /// The line for the human monitor.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::RegistersAll => "info registers -a".to_owned(),
            Self::MemoryTree => "info mtree -f".to_owned(),
            Self::RamBlocks => "info ramblock".to_owned(),
            Self::HostAddress(address) => format!("gpa2hva 0x{address:x}"),
            Self::PhysicalBytes { address, count } => {
                format!("xp /{}bx 0x{address:x}", count.clamp(1, Self::MAX_BYTES))
            }
        }
    }
}

/// QEMU's gdb stub, rung L2: starting it pauses nothing, connecting to it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HmpGdbServer {
    /// Serve on a unix socket that the caller made a 0700 folder for.
    Unix(GdbSocketPath),
    /// Close the server and drop its client.
    None,
}

impl HmpGdbServer {
    /// The line for the human monitor.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Unix(path) => format!("gdbserver unix:{},server=on,wait=off", path.0),
            Self::None => "gdbserver none".to_owned(),
        }
    }
}

/// A socket path that is safe in a line for the human monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GdbSocketPath(String);

impl GdbSocketPath {
    /// Accepts absolute paths of letters, digits and `/._-` that fit a socket address.
    #[must_use]
    pub fn new(path: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        (path.starts_with('/') && path.len() < 100 && path.bytes().all(plain)).then(|| Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gdb_path_cannot_smuggle_an_option_or_a_second_word() {
        assert!(GdbSocketPath::new("/run/vmward/gdb-1/s").is_some());
        for bad in ["run/x", "/a b", "/a,server=off", "/a\nquit", ""] {
            assert_eq!(GdbSocketPath::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_read_of_memory_is_bounded() {
        let line = HmpRead::PhysicalBytes { address: 0x1000, count: u16::MAX }.line();
        assert_eq!(line, "xp /1024bx 0x1000");
    }
}
