//! Virtio devices as the guest's drivers hold them: `struct virtio_device` with its virtqueues.
//!
//! Devices are those of the bus `virtio`. Of a queue everything that the border needs lies in guest memory:
//! both rings, and what the driver remembers of them (`struct vring_virtqueue`). What lies in the device's
//! registers, as its status byte, does not.

mod chains;
mod ports;
mod ring;
mod shape;

use std::collections::HashSet;

use vmward_kernel_facts::machine::{Disk, NetDevice, VirtioDevice, VirtioQueue};

use self::ring::{Layout, Ring};
use super::device;
use super::object::Object;
use crate::{Kernel, ReadError};

/// Devices at most.
const MAX_DEVICES: usize = 1024;
/// Queues of a device at most.
const MAX_QUEUES: usize = 1024;
/// Bits of `features`: `VIRTIO_RING_F_EVENT_IDX`.
const EVENT_IDX: u64 = 1 << 29;

/// Reads every device. Disks and network devices, if they are known, are told to be the device's by the place
/// where they hang; requests of a disk by the token of their chain.
///
/// # Errors
/// What the read of the bus said. A device or a queue that cannot be read is left out, and the device says so.
pub fn read(
    kernel: &Kernel<'_>,
    disks: Option<&[Disk]>,
    networks: Option<&[NetDevice]>,
) -> Result<Vec<VirtioDevice>, ReadError> {
    let (disks, networks) = (disks.unwrap_or_default(), networks.unwrap_or_default());
    let mut devices = Vec::new();
    for device in device::of_bus(kernel, "virtio")?.into_iter().take(MAX_DEVICES) {
        devices.push(read_device(device, disks, networks)?);
    }
    devices.sort_by_cached_key(|it: &VirtioDevice| (it.name.len(), it.name.clone()));
    Ok(devices)
}

fn read_device(
    device: Object<'_, '_>,
    disks: &[Disk],
    networks: &[NetDevice],
) -> Result<VirtioDevice, ReadError> {
    let virtio = Object::around(device.kernel, "virtio_device", "dev", device.at)?;
    let path = device::path(device)?;
    let below =
        |place: &str| place.strip_prefix(&path).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    let ours: Vec<&Disk> = disks.iter().filter(|it| below(&it.path)).collect();
    let links = networks.iter().filter(|it| below(&it.path));
    let driver = device.follow("driver", "device_driver")?.map(|it| it.text_behind("name")).transpose()?;
    let parent = device.follow("parent", "device")?.map(device::name).transpose()?;
    let mut found = VirtioDevice {
        name: device::name(device)?,
        device_id: virtio.small("id.device")?,
        driver: driver.flatten(),
        parent,
        serves: ours.iter().map(|it| it.name.clone()).chain(links.map(|it| it.name.clone())).collect(),
        failed: virtio.number("failed")? != 0,
        features: virtio.number("features")?,
        path,
        ..VirtioDevice::default()
    };
    if found.driver.as_deref() == Some("virtio_console") {
        match ports::read(virtio) {
            Ok(ports) => found.ports = ports,
            Err(error) => found.problems.push(format!("its ports could not be read: {error}")),
        }
    }
    let requests: HashSet<u64> = ours.iter().flat_map(|it| &it.in_flight).map(|it| it.address).collect();
    let offset = device.kernel.offset("virtqueue", "list").unwrap_or(0);
    for link in virtio.list("vqs")?.into_iter().take(MAX_QUEUES) {
        let queue = Object::new(device.kernel, "virtqueue", link.wrapping_sub(offset));
        match read_queue(queue, virtio, &found, &requests) {
            Ok(read) => found.queues.push(read),
            Err(error @ ReadError::Exhausted { .. }) => return Err(error),
            Err(error) => found.problems.push(format!("a queue could not be read: {error}")),
        }
    }
    found.queues.sort_by_key(|it| it.index);
    Ok(found)
}

fn read_queue(
    queue: Object<'_, '_>,
    device: Object<'_, '_>,
    of: &VirtioDevice,
    requests: &HashSet<u64>,
) -> Result<VirtioQueue, ReadError> {
    if queue.number("vdev")? != device.at {
        return Err(ReadError::Inconsistent { what: "virtqueue", virt: queue.at });
    }
    let kernel = queue.kernel;
    let ring = Ring::read(queue)?;
    let desc = kernel.space.phys(ring.desc)?;
    let mut read = VirtioQueue {
        index: queue.small("index")?,
        name: queue.text_behind("name")?.unwrap_or_default(),
        size: ring.size,
        packed: ring.layout == Layout::Packed,
        desc,
        driver_area: kernel.space.phys(ring.driver)?,
        device_area: kernel.space.phys(ring.device)?,
        desc_dma: ring.dma.filter(|it| *it != desc),
        num_added: ring.num_added,
        free: queue.small("num_free")?,
        broken: ring.broken,
        event_idx: of.features & EVENT_IDX != 0,
        ..VirtioQueue::default()
    };
    match ring.layout {
        Layout::Split => split(kernel, &ring, &mut read)?,
        Layout::Packed => packed(kernel, &ring, &mut read)?,
    }
    if !read.is_supply() || read.packed {
        chains::read(kernel, &ring, of.driver.as_deref(), requests, &mut read)?;
    }
    if read.is_supply() {
        read.chains.clear();
    }
    Ok(read)
}

/// Both rings of a split queue (virtio 1.2, 2.7.6 and 2.7.8).
fn split(kernel: &Kernel<'_>, ring: &Ring, read: &mut VirtioQueue) -> Result<(), ReadError> {
    let size = u64::from(ring.size);
    let half = |at: u64| kernel.space.u16(at).map(u32::from);
    // The device's side first: an answer that comes in between is then one that nobody can have taken.
    let used_idx = half(ring.device + 2)?;
    read.used_idx = Some(used_idx);
    read.last_used_idx = u32::from(ring.last_used as u16);
    read.avail_idx = half(ring.driver + 2)?;
    read.no_interrupt = half(ring.driver)? & 1 != 0;
    read.no_notify = half(ring.device)? & 1 != 0;
    if read.event_idx {
        read.used_event = Some(half(ring.driver + 4 + 2 * size)?);
        read.avail_event = Some(half(ring.device + 4 + 8 * size)?);
    }
    read.outstanding = u32::from((read.avail_idx as u16).wrapping_sub(ring.last_used as u16));
    if read.outstanding > ring.size {
        return Err(ReadError::Inconsistent { what: "the indices of a virtqueue", virt: ring.driver });
    }
    Ok(())
}

/// The marks of a packed queue (virtio 1.2, 2.8.14). How many chains are out is counted later.
fn packed(kernel: &Kernel<'_>, ring: &Ring, read: &mut VirtioQueue) -> Result<(), ReadError> {
    const DISABLED: u16 = 1;
    read.avail_idx = u32::from(ring.next_avail);
    // Its highest bit tells which way round the ring is in kernels of today.
    read.last_used_idx = u32::from(ring.last_used as u16 & 0x7fff);
    read.no_interrupt = kernel.space.u16(ring.driver + 2)? == DISABLED;
    read.no_notify = kernel.space.u16(ring.device + 2)? == DISABLED;
    Ok(())
}
