//! Virtio devices as the guest's drivers hold them: each queue with its indices, its marks and what is under
//! way in it.
//!
//! Names are those of the specification (OASIS virtio 1.2, chapter 2): the driver offers chains of
//! descriptors in the driver area and takes answers from the device area.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One chain of descriptors that the driver has offered and not taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VirtioChain {
    /// Its first descriptor: the number by which the device gives it back.
    pub head: u32,
    /// The index under which the driver offered it (of a split ring, counted as `avail_idx` is), where the
    /// ring still holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<u32>,
    /// Guest-virtual address by which the driver knows it.
    pub token: u64,
    /// Guest-virtual address of the block layer's request, as in
    /// [`BlockRequest::address`](super::BlockRequest::address).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// A SCSI command: its bytes in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// One virtqueue, as the driver holds it. Indices of a split ring run to 65535 and begin again; those of a
/// packed ring are places in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VirtioQueue {
    /// Its number at the device.
    pub index: u32,
    /// The driver's name for it (`req.0`, `output.0`).
    pub name: String,
    /// Descriptors.
    pub size: u32,
    /// It is a packed ring.
    #[serde(default)]
    pub packed: bool,
    /// Guest-physical address of the descriptors.
    pub desc: u64,
    /// Guest-physical address of the driver area: the available ring, or the driver's event suppression.
    pub driver_area: u64,
    /// Guest-physical address of the device area: the used ring, or the device's event suppression.
    pub device_area: u64,
    /// The address of the descriptors that the device was told, where that is another: behind an IOMMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desc_dma: Option<u64>,
    /// The index at which the driver offers next: everything before was offered.
    pub avail_idx: u32,
    /// The next answer that the driver will take.
    pub last_used_idx: u32,
    /// The index at which the device answers next, as it stands in the ring; a packed ring has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_idx: Option<u32>,
    /// Chains offered since the driver last thought of notifying the device.
    #[serde(default)]
    pub num_added: u32,
    /// Descriptors that are free.
    pub free: u32,
    /// Chains that are not free: offered, and their answers not taken.
    pub outstanding: u32,
    /// Of these, the oldest; never more than a page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<VirtioChain>,
    /// The driver gave it up.
    #[serde(default)]
    pub broken: bool,
    /// Both sides tell by an index when they want to be woken (`VIRTIO_F_EVENT_IDX`).
    #[serde(default)]
    pub event_idx: bool,
    /// The driver wants no interrupt: it polls, or is just at work. Without meaning under `event_idx`.
    #[serde(default)]
    pub no_interrupt: bool,
    /// Under `event_idx`: the driver wants an interrupt when this answer is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_event: Option<u32>,
    /// The device wants no notification: it is at work. Without meaning under `event_idx`.
    #[serde(default)]
    pub no_notify: bool,
    /// Under `event_idx`: the device wants a notification when this chain is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avail_event: Option<u32>,
}

impl VirtioQueue {
    /// How many answers lie in the ring that the driver has not taken; `None` for a packed ring.
    pub fn untaken(&self) -> Option<u32> {
        Some(u32::from((self.used_idx? as u16).wrapping_sub(self.last_used_idx as u16)))
    }

    /// Whether it holds buffers for whatever the device may want to say, so that they wait in it for as long
    /// as nothing happens: received packets, input of a console, events, random bytes.
    ///
    /// Names are those of Linux's drivers (`virtio_net.c`, `virtio_console.c`, `virtio_scsi.c`,
    /// `virtio_balloon.c`, `virtio-rng.c`, `virtio_vsock.c`, `virtio_input.c`, `virtio_snd`).
    pub fn is_supply(&self) -> bool {
        let stem = self.name.split('.').next().unwrap_or_default();
        matches!(stem, "input" | "control-i" | "event" | "events" | "stats" | "rx" | "eventq")
    }
}

/// A port of a virtio console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VirtioPort {
    /// Its number.
    pub id: u32,
    /// The name that the host gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Somebody listens on the host.
    pub host_connected: bool,
    /// Somebody has it open in the guest.
    pub guest_connected: bool,
    /// The driver found no room to send.
    pub out_full: bool,
}

/// One virtio device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VirtioDevice {
    /// Its name on the bus (`virtio0`).
    pub name: String,
    /// Where it hangs: names of the devices from the root to it, as in `/sys/devices`.
    pub path: String,
    /// What it is: 1 network, 2 disk, 3 console, 4 random bytes, 5 balloon, 8 SCSI, 19 vsock (virtio 1.2,
    /// chapter 5).
    pub device_id: u32,
    /// The driver that has it; `None` if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The device that it is the inside of: a PCI address (`0000:00:02.0`), or a node of virtio-mmio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Disks and network interfaces that it serves (`vda`, `eth0`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<String>,
    /// The driver gave it up.
    #[serde(default)]
    pub failed: bool,
    /// What both sides have agreed on (`VIRTIO_F_*`, and bits of the kind of device).
    pub features: u64,
    /// Ports of a console.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<VirtioPort>,
    /// Its queues.
    pub queues: Vec<VirtioQueue>,
    /// What of it could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl VirtioDevice {
    /// Whether the driver of one of its queues takes answers only when somebody sends or reads the next time,
    /// so that they may lie there for good: what a network device has sent (`free_old_xmit` of
    /// `virtio_net.c`), what a console has sent (`reclaim_consumed_buffers` of `virtio_console.c`) and, of
    /// what it has received, what nobody reads (`get_inbuf`).
    pub fn is_lazy(&self, queue: &VirtioQueue) -> bool {
        const NETWORK: u32 = 1;
        const CONSOLE: u32 = 3;
        match queue.name.split('.').next() {
            Some("output") => matches!(self.device_id, NETWORK | CONSOLE) && queue.free > 0,
            Some("input") => self.device_id == CONSOLE,
            _ => false,
        }
    }

    /// The slot and the function of a PCI device that QEMU put onto its first bus, as `(slot, function)`.
    pub fn pci_slot(&self) -> Option<(u8, u8)> {
        let (slot, function) = self.parent.as_deref()?.rsplit_once(':')?.1.split_once('.')?;
        Some((u8::from_str_radix(slot, 16).ok()?, u8::from_str_radix(function, 16).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_lie_in_the_ring_are_counted_across_the_end_of_the_index() {
        let queue = VirtioQueue { used_idx: Some(2), last_used_idx: 65534, ..VirtioQueue::default() };
        assert_eq!(queue.untaken(), Some(4));
        assert_eq!(VirtioQueue::default().untaken(), None);
    }

    #[test]
    fn buffers_for_what_may_come_are_told_from_requests() {
        let supply = |name: &str| VirtioQueue { name: name.into(), ..VirtioQueue::default() }.is_supply();
        assert!(supply("input.0") && supply("control-i") && supply("event"));
        assert!(!supply("output.1") && !supply("req.0") && !supply("control"));
    }

    #[test]
    fn what_was_sent_is_taken_back_when_somebody_sends_again() {
        let device = |device_id| VirtioDevice { device_id, ..VirtioDevice::default() };
        let queue = |name: &str, free| VirtioQueue { name: name.into(), free, ..VirtioQueue::default() };
        assert!(device(1).is_lazy(&queue("output.0", 1)) && device(3).is_lazy(&queue("input", 0)));
        // Nobody can send again, so that its interrupt is waited for.
        assert!(!device(1).is_lazy(&queue("output.0", 0)));
        assert!(!device(1).is_lazy(&queue("input.0", 1)) && !device(2).is_lazy(&queue("req.0", 1)));
    }

    #[test]
    fn a_pci_address_names_the_slot() {
        let on = |parent: &str| VirtioDevice { parent: Some(parent.into()), ..VirtioDevice::default() };
        assert_eq!(on("0000:00:1f.2").pci_slot(), Some((0x1f, 2)));
        assert_eq!(on("a003e00.virtio_mmio").pci_slot(), None);
    }
}
