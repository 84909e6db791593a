//! A look at a guest's memory: the kernel lens in a child without any rights.
//!
//! Whatever follows pointers of a guest runs in a process of its own. It holds read-only descriptors of the
//! guest's memory, two files in memory that it may write its result to, and nothing else: no file, no
//! socket, no other process (seccomp, landlock, resource limits), and it is killed at its deadline. One
//! child serves one look; the next one is started beforehand, so that nobody waits for it.
//!
//! ```text
//! agent                         opener (CAP_SYS_PTRACE)           child
//!   | layout, registers: QMP        |                               |
//!   |--- memory of PID, please ---->|                               |
//!   |<-- read-only descriptors -----|                               |
//!   |--- order, descriptors, files for the result ----------------->|
//!   |<-- its end: the result is in the files -----------------------|
//! ```
//!
//! * [`Order`]: what is looked at and what is wanted.
//! * [`Pool`]: starts children, at most eight at once, and waits for them.
//! * [`gather()`]: finds out where a live guest's memory is.

mod child;
mod gather;
mod layout;
mod order;
mod pool;
mod sandbox;
mod source;

pub use child::main;
pub(crate) use gather::layout_of;
pub use gather::{Gathered, gather};
pub use layout::{Layout, guessed};
pub use order::{MemoryFrom, MinicoreOrder, Order, Part, PartAt, Request};
pub use pool::{LookError, Looked, Pool};
pub use sandbox::{SandboxError, enter};
pub(crate) use source::chain;
