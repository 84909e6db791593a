//! The state of the machine as its kernel keeps it, one file per subject.
//!
//! Each file has a `read` that gives plain data. Types of variables are written down here, since BTF has
//! none for them; layouts of structures come from BTF.

pub mod clock;
pub mod memory;
pub mod mounts;
mod object;
pub mod rcu;
pub mod run_queue;
pub mod system;
pub mod watchdog;
pub mod workqueue;
