//! What captures saw, in the form in which findings read it. Each capture fills one part; a part
//! that is absent was not captured, and no finding may take absence for a sign.
//!
//! Kernel facts parsed from SysRq text or memory are not here: they are `kernel-facts` types and
//! stand beside this in the finding engine's case.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::GuestState;

/// Everything seen from outside in one diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// Run state and monitor health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_state: Option<RunState>,
    /// Registers of all vCPUs, sampled without a stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<Vcpus>,
    /// Virtqueues, twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<QueueSample>>,
    /// Block counters, twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<BlockSample>>,
    /// The host's side of this guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostSide>,
    /// The console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleSeen>,
}

/// How QEMU's monitor answered when the diagnosis asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "monitor", rename_all = "kebab-case")]
pub enum MonitorHealth {
    /// It answers.
    Answers,
    /// Somebody else holds the socket, so that nothing can be said.
    Busy {
        /// Who, as far as the host can tell.
        peer: String,
    },
    /// It accepts and says nothing, and nobody else is connected.
    Silent,
    /// It says something that is not QMP.
    Garbage,
    /// It closes in the middle of an answer.
    Closed,
    /// There is no socket, or nobody listens.
    Absent,
}

/// QEMU's own word on the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunState {
    /// Monitor health.
    #[serde(flatten)]
    pub monitor: MonitorHealth,
    /// QMP `query-status` run state, when it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The guest state that the agent made of all it knows.
    pub state: GuestState,
    /// `query-version`, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// `query-target` architecture (`x86_64`, `aarch64`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
}

/// Registers of all vCPUs at several moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Vcpus {
    /// One entry a sample, oldest first.
    pub samples: Vec<VcpuSample>,
}

/// All vCPUs at one moment. Not atomic across vCPUs: nothing was stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VcpuSample {
    /// Milliseconds after the first sample.
    pub at_ms: u64,
    /// One entry a vCPU.
    pub cpus: Vec<VcpuRegisters>,
}

/// One vCPU at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VcpuRegisters {
    /// QEMU's index of the vCPU.
    pub index: u32,
    /// Instruction pointer (RIP, PC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<u64>,
    /// Stack pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sp: Option<u64>,
    /// Whether maskable interrupts are off (RFLAGS.IF clear; PSTATE.I set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts_off: Option<bool>,
    /// Whether it runs user code (CPL 3; EL0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_mode: Option<bool>,
    /// Whether it sleeps in HLT or WFI. Under paravirtual spinlocks a waiter sleeps there too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<bool>,
    /// Every register that was read, by its name in QEMU's text or target description.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub all: BTreeMap<String, u64>,
}

/// All virtqueues of all virtio devices at one moment (QMP `x-query-virtio-queue-status`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueSample {
    /// Milliseconds after the first sample.
    pub at_ms: u64,
    /// One entry a queue.
    pub queues: Vec<Virtqueue>,
}

/// One virtqueue of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Virtqueue {
    /// QOM path of the device.
    pub path: String,
    /// Device type (`virtio-blk`, `virtio-net`, ...).
    pub device: String,
    /// Queue number.
    pub queue: u32,
    /// Requests that the host has taken and not completed.
    pub inuse: u32,
    /// Next available index that QEMU would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_avail_idx: Option<u32>,
    /// QEMU's copy of the driver's available index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_avail_idx: Option<u32>,
    /// Completions that the host has published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_idx: Option<u32>,
    /// Up to which completion QEMU has decided on an interrupt, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signalled_used: Option<u32>,
    /// Descriptors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Guest-physical address of the descriptors: by it a queue is told to be the guest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desc: Option<u64>,
}

/// Counters of all block devices at one moment (QMP `query-blockstats`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockSample {
    /// Milliseconds after the first sample.
    pub at_ms: u64,
    /// One entry a device.
    pub devices: Vec<BlockCounters>,
}

/// Counters of one block device since QEMU started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockCounters {
    /// Backend name or QOM path.
    pub device: String,
    /// QOM path of the device that it is the backend of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdev: Option<String>,
    /// Completed reads.
    pub rd_ops: u64,
    /// Completed writes.
    pub wr_ops: u64,
    /// Completed flushes.
    pub flush_ops: u64,
    /// Bytes read.
    pub rd_bytes: u64,
    /// Bytes written.
    pub wr_bytes: u64,
    /// Failed reads, writes and flushes together.
    pub failed_ops: u64,
}

impl BlockCounters {
    /// All completed operations.
    pub fn ops(&self) -> u64 {
        self.rd_ops.saturating_add(self.wr_ops).saturating_add(self.flush_ops)
    }
}

/// The host's side of one guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostSide {
    /// Whether the QEMU process was there.
    pub process_alive: bool,
    /// Threads of QEMU; empty when the process is gone or could not be read.
    pub threads: Vec<HostThread>,
    /// How long `cpu_ms` of the threads was counted, in milliseconds.
    pub window_ms: u64,
    /// Resident memory of QEMU in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
    /// cgroup path of QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Pressure of that cgroup, or of the host where the cgroup has none: `cpu.some.avg10` and so on, in percent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pressure: BTreeMap<String, f64>,
    /// Files and devices that QEMU has open as disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
    /// Host network interfaces of this guest (tap, macvtap) with their counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taps: Vec<HostTap>,
    /// What could not be read and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What a thread of QEMU is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "role", content = "index", rename_all = "kebab-case")]
pub enum ThreadRole {
    /// The main loop.
    Main,
    /// Runs vCPU `n`.
    Vcpu(u32),
    /// An I/O thread.
    Io,
    /// Anything else (worker pool, RCU, VNC).
    Other,
}

/// One thread of QEMU, seen in the host's `/proc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostThread {
    /// Thread id.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// What it is for.
    #[serde(flatten)]
    pub role: ThreadRole,
    /// State letter of `/proc/PID/task/TID/stat`.
    pub state: char,
    /// Host kernel function it sleeps in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// Host kernel stack, where the agent may read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
    /// CPU time used in the window, in milliseconds.
    pub cpu_ms: u64,
    /// Time in the window in which it wanted a CPU and the host gave it none, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
}

/// A host network interface of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostTap {
    /// Interface name.
    pub name: String,
    /// `operstate`.
    pub state: String,
    /// Packets to the host.
    pub rx_packets: u64,
    /// Packets to the guest.
    pub tx_packets: u64,
    /// Dropped either way.
    pub dropped: u64,
}

/// What the console has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleSeen {
    /// Whether the console could be reached when the diagnosis asked.
    pub connected: bool,
    /// Milliseconds since the last byte; absent when none was ever seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// How far the boot came, as far as the console told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BootPhase>,
    /// The last lines, oldest first. Guest text: escape before showing.
    pub tail: Vec<String>,
    /// Kernel trouble seen in this boot, oldest first.
    pub trouble: Vec<TroubleSeen>,
    /// Log labels, if a scenario watches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSeen>,
    /// What the shell last said when it was asked, if it is asked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellSeen>,
}

/// How far a boot came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootPhase {
    /// Firmware or bootloader text.
    Firmware,
    /// The kernel printed its banner.
    Kernel,
    /// Waiting for a root device.
    WaitsForRoot,
    /// Init runs.
    Init,
    /// A login prompt, a shell prompt or a label was seen.
    Up,
    /// Shutdown lines were seen.
    ShuttingDown,
}

/// One piece of kernel trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleSeen {
    /// Kind (`panic`, `init-died`, `oops`, `bug`, `soft-lockup`, ...).
    pub kind: String,
    /// Normalised title.
    pub title: String,
    /// Milliseconds before the capture at which it was printed.
    pub ago_ms: u64,
    /// Byte range in the console stream of this incarnation.
    pub bytes: (u64, u64),
    /// Whether the kernel stopped for it.
    pub fatal: bool,
}

/// Log labels on the console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelsSeen {
    /// How many were seen in this boot.
    pub count: u64,
    /// Milliseconds since the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
    /// The longest gap that the scenario allows, in milliseconds.
    pub max_gap_ms: u64,
}

/// The shell on the console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShellSeen {
    /// Whether the last question was answered in time.
    pub answered: bool,
    /// Milliseconds that the last answer took, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Milliseconds since that answer, or since it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ago_ms: Option<u64>,
    /// What it said, if it was not the expected answer (`can't fork`). Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}
