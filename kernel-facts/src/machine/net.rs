//! Network devices and their queues.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One transmit queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetQueue {
    /// Its number.
    pub index: u32,
    /// The driver stopped it: the device has no room.
    pub stopped_by_driver: bool,
    /// The stack stopped it: enough bytes are under way (BQL).
    pub stopped_by_stack: bool,
    /// Packets that wait in its queueing discipline.
    pub waiting: u32,
    /// Bytes that the device has and has not reported as sent, where the driver counts (BQL).
    pub bytes_under_way: u32,
    /// Milliseconds since a packet was last given to the device; `None` if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<u64>,
    /// Times that the device took too long.
    pub timeouts: u64,
}

/// A network device of the initial namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetDevice {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Where it hangs: names of the devices from the root to its controller, as in `/sys/devices`; empty for
    /// one that is no hardware.
    #[serde(default)]
    pub path: String,
    /// Somebody set it up (`IFF_UP`).
    pub up: bool,
    /// It has a link.
    pub carrier: bool,
    /// State as RFC 2863 counts: 0 unknown, 2 down, 5 dormant, 6 up.
    pub operstate: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Its transmit queues in use.
    pub queues: Vec<NetQueue>,
}
