//! The state of the machine as its kernel keeps it: CPUs, memory, RCU, workqueues, devices.
//!
//! Plain data; whoever reads it fills in what it found, and what it did not find is `None` or missing.

mod clock;
mod memory;
mod run_queue;
mod system;

pub use clock::Clock;
pub use memory::{Memory, MemoryNode, MemoryZone};
pub use run_queue::{QueuedTask, RunQueue, SchedClass, TaskName};
pub use system::{Load, PanicState, System, Taint};
