//! Everything that one look at a guest's memory told of its kernel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::{
    Clock, CpuTimers, Disk, Interrupts, LoadedModule, Memory, Mounts, NetDevice, Pressure, Rcu, RunQueue,
    SlabCache, System, VirtioDevice, Watchdog, WorkerPool,
};
use crate::{Answer, CpuStack, KernelLog, Task, WaitGraph};

/// How the kernel was found in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// By the page tables that a vCPU's registers named.
    Registers,
    /// By a scan of memory: no registers, or none that lead there.
    Scan,
}

/// Which kernel it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelIdentity {
    /// Its own words about itself, as in `/proc/version`. Guest text.
    pub banner: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// Guest-virtual address of its image.
    pub image_virt: u64,
    /// Guest-physical address of it.
    pub image_phys: u64,
    /// Symbols in its table.
    pub symbols: u64,
    /// Types that it describes; 0 for a kernel without BTF, of which tasks cannot be read.
    pub types: u64,
    /// How its stacks are followed.
    pub unwinder: String,
    /// How it was found.
    pub found_by: FoundBy,
}

/// What was spent on the look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExaminationCost {
    /// Pages of guest memory that the result is made from: the minicore's.
    pub pages: u64,
    /// Reads.
    pub reads: u64,
    /// Microseconds until the kernel was found, with symbols and types.
    pub find_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
}

/// The state of the machine; `None` where it could not be read, and a sentence among the problems says why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Taint, command line, uptime, load, panic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// Runqueues, one a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_queues: Option<Vec<RunQueue>>,
    /// Memory by zone and use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// RCU and who holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcu: Option<Rcu>,
    /// The lockup detectors' marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// Workqueues and what they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workqueues: Option<Vec<WorkerPool>>,
    /// Mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Mounts>,
    /// Disks with their requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<Vec<Disk>>,
    /// Virtio devices with their queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtio: Option<Vec<VirtioDevice>>,
    /// Network devices with their queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<NetDevice>>,
    /// Modules, the one loaded last first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<Vec<LoadedModule>>,
    /// Slab caches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab: Option<Vec<SlabCache>>,
    /// Pressure (PSI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Timers, one entry a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Vec<CpuTimers>>,
    /// Interrupts and soft interrupts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<Interrupts>,
}

/// Everything that one look told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Examination {
    /// Which kernel it is.
    pub kernel: KernelIdentity,
    /// What each CPU does.
    pub cpus: Vec<CpuStack>,
    /// Every task, with its stack.
    pub tasks: Vec<Task>,
    /// Who waits for whom.
    pub waits: WaitGraph,
    /// The kernel's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<KernelLog>,
    /// The state of the machine.
    pub machine: Box<Machine>,
    /// Answers to what was asked along with the look, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What could not be read, and why: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What it took.
    pub cost: ExaminationCost,
}
