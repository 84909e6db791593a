//! Disks, and the requests that they owe.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request that a driver has and that is not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockRequest {
    /// `read`, `write`, `flush`, `discard`; another operation by its number.
    pub operation: String,
    /// First sector, of 512 bytes.
    pub sector: u64,
    /// Bytes.
    pub bytes: u32,
    /// Hardware queue.
    pub queue: u32,
    /// Tag: the driver's number of it.
    pub tag: u32,
    /// Since when, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// The driver has reported it done, but nobody has finished it yet.
    #[serde(default)]
    pub completed: bool,
    /// Guest-virtual address of the `request`.
    pub address: u64,
    /// The file system (`s_id`) and the number of the inode whose pages it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<(String, u64)>,
    /// Guest-virtual addresses of the `page`s that it carries, of each folio the first; never more than a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<u64>,
}

/// A whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Its name (`vda`).
    pub name: String,
    /// Where it hangs: names of the devices from the root to its controller, as in `/sys/devices`.
    #[serde(default)]
    pub path: String,
    /// Major and first minor number.
    pub device: (u32, u32),
    /// Sectors of 512 bytes.
    pub sectors: u64,
    /// Hardware queues.
    pub hardware_queues: u32,
    /// Its I/O scheduler, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// No request may enter its queue.
    pub frozen: bool,
    /// No request is given to the driver.
    pub quiesced: bool,
    /// Requests that the driver has, oldest first.
    pub in_flight: Vec<BlockRequest>,
    /// Requests that the scheduler has, with those in flight; 0 without a scheduler.
    pub scheduled: u64,
    /// Hardware queues that the driver has stopped.
    pub stopped_queues: Vec<u32>,
}
