//! The opener: a small process that alone holds CAP_SYS_PTRACE (and CAP_SYS_ADMIN for kernel stacks) and
//! passes read-only descriptors of an allow-listed set of `/proc` files of QEMU processes.
//!
//! One request a connection: a line of JSON, answered by a line of JSON with at most one descriptor.
//! What may be asked for is [`Want`], and nothing else can be said. Before anything is opened, the
//! server looks who asks (`SO_PEERCRED`), that the process is the one that was meant (start time), and
//! that it runs a QEMU that root installed. All paths are opened below one descriptor of `/proc/PID`,
//! which the kernel ties to that process and never to a later one with the same number.
//!
//! `mem` and `pagemap` are passed as they are: the kernel checks their reader when they are opened. The
//! small text files are read by the opener and passed as sealed copies, because the kernel checks the
//! reader of `stack`, `wchan` and `syscall` at each read (fs/proc/base.c, `lock_trace`).

mod client;
mod server;
mod target;

use serde::{Deserialize, Serialize};

pub use client::{Client, OpenerError};
pub use server::{Policy, ServeError, serve};

/// Where the opener listens by default.
pub const SOCKET: &str = "/run/vmward-opener.sock";

/// Bytes of a request or an answer.
const MAX_LINE: usize = 4 << 10;

/// The files of a thread that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskFile {
    /// Kernel stack.
    Stack,
    /// Kernel function it sleeps in.
    Wchan,
    /// System call and its arguments.
    Syscall,
    /// State and CPU time.
    Stat,
}

impl TaskFile {
    fn name(self) -> &'static str {
        match self {
            TaskFile::Stack => "stack",
            TaskFile::Wchan => "wchan",
            TaskFile::Syscall => "syscall",
            TaskFile::Stat => "stat",
        }
    }
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "kebab-case")]
pub enum Want {
    /// `/proc/PID/mem`, read-only.
    Mem,
    /// `/proc/PID/pagemap`.
    Pagemap,
    /// `/proc/PID/maps`, a copy.
    Maps,
    /// `/proc/PID/fd/N`, if it is memory (a memfd, or a file of tmpfs or hugetlbfs), opened anew and
    /// read-only.
    Memfd {
        /// Number of the descriptor.
        fd: u32,
    },
    /// The list of open files ([`crate::node::fds::Fd`] as JSON): links and modes, no descriptor.
    Fds,
    /// A copy of a file of one thread.
    Task {
        /// Thread id.
        tid: u32,
        /// Which.
        file: TaskFile,
    },
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Process id of QEMU.
    pub pid: u32,
    /// Its start time (field 22 of `/proc/PID/stat`), so that a reused pid is refused.
    pub start_ticks: u64,
    /// What.
    pub file: Want,
}

/// The answer; the descriptor comes along with it when `refused` is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[cfg(test)]
mod tests;
