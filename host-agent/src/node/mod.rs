//! The host's own facts: what `/proc`, `/sys` and cgroups say about a guest's QEMU and about this host.
//!
//! Reading about another process can block for as long as that process is stuck (`/proc/PID/cmdline`
//! waits for its memory map, `/proc/PID/stack` for its locks), so everything here is plain blocking
//! code that is meant to be run by [`read::Reader`], in a thread that may be thrown away.

pub mod cgroup;
pub mod disks;
pub mod fds;
pub mod process;
pub mod read;
pub mod stat;
pub mod taps;
pub mod threads;

pub use process::Process;
pub use read::{ReadError, Reader};
