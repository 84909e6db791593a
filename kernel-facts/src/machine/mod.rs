//! The state of the machine as its kernel keeps it: CPUs, memory, RCU, workqueues, devices.
//!
//! Plain data; whoever reads it fills in what it found, and what it did not find is `None` or missing.

mod block;
mod clock;
mod interrupts;
mod memory;
mod modules;
mod mounts;
mod net;
mod pressure;
mod rcu;
mod run_queue;
mod slab;
mod system;
mod timers;
mod virtio;
mod watchdog;
mod workqueue;

pub use block::{BlockRequest, Disk};
pub use clock::Clock;
pub use interrupts::{Interrupt, Interrupts, SoftIrq};
pub use memory::{Memory, MemoryNode, MemoryZone};
pub use modules::{LoadedModule, ModuleState};
pub use mounts::{Freeze, Mount, Mounts, SuperBlock};
pub use net::{NetDevice, NetQueue};
pub use pressure::{Pressure, PressureLine};
pub use rcu::{CpuCallbacks, Rcu};
pub use run_queue::{QueuedTask, RunQueue, SchedClass, TaskName};
pub use slab::SlabCache;
pub use system::{Load, PanicState, System, Taint};
pub use timers::{CpuTimers, PendingTimer};
pub use virtio::{VirtioChain, VirtioDevice, VirtioPort, VirtioQueue};
pub use watchdog::{CpuWatchdog, Watchdog};
pub use workqueue::{RunningWork, WorkerPool};
