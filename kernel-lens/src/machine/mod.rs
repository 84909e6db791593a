//! The state of the machine as its kernel keeps it, one file per subject.
//!
//! Each file has a `read` that gives plain data. Types of variables are written down here, since BTF has
//! none for them; layouts of structures come from BTF.

mod bio;
pub mod block;
pub mod clock;
mod device;
pub mod interrupts;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod net;
pub(crate) mod object;
pub mod pressure;
pub mod rcu;
pub mod run_queue;
pub mod slab;
pub mod system;
pub mod timers;
mod tree;
pub mod virtio;
pub mod watchdog;
pub mod workqueue;
