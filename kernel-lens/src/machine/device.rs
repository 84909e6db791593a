//! The tree of devices: `struct device`, its `kobject` and its bus (`drivers/base/`).

use super::object::Object;
use crate::{Kernel, ReadError};

/// Devices above each other at most.
const MAX_DEPTH: usize = 32;

/// Name of a device, as in `/sys/devices`.
pub(super) fn name(device: Object<'_, '_>) -> Result<String, ReadError> {
    Ok(device.text_behind("kobj.name")?.unwrap_or_default())
}

/// Names of the devices from the root to this one: `pci0000:00/0000:00:02.0/virtio0`.
pub(super) fn path(device: Object<'_, '_>) -> Result<String, ReadError> {
    let mut names = Vec::new();
    let mut next = Some(device);
    while let Some(device) = next.filter(|_| names.len() < MAX_DEPTH) {
        names.push(name(device)?);
        next = device.follow("parent", "device")?;
    }
    names.reverse();
    Ok(names.join("/"))
}

/// The same of a device's parent; empty for one without.
pub(super) fn parent_path(device: Object<'_, '_>) -> Result<String, ReadError> {
    device.follow("parent", "device")?.map_or(Ok(String::new()), path)
}

/// Every device of a bus; none if there is no such bus.
///
/// Buses are the members of the set `bus_kset`, each a `subsys_private` with its `bus_type`; devices hang in
/// its `klist_devices` by `device_private.knode_bus`. (`bus_type.p`, the other way round, is not in
/// kernels of today.)
pub(super) fn of_bus<'k, 'm>(kernel: &'k Kernel<'m>, bus: &str) -> Result<Vec<Object<'k, 'm>>, ReadError> {
    let set = Object::symbol(kernel, "kset", "bus_kset")?;
    let set = Object::new(kernel, "kset", kernel.space.u64(set.at)?);
    for link in set.list("list")? {
        let entry = Object::around(kernel, "subsys_private", "subsys.kobj.entry", link)?;
        let Some(kind) = entry.follow("bus", "bus_type")? else { continue };
        if kind.text_behind("name")?.as_deref() != Some(bus) {
            continue;
        }
        let links = entry.list("klist_devices.k_list")?;
        let device = |link| {
            let private = Object::around(kernel, "device_private", "knode_bus.n_node", link)?;
            let missing = ReadError::Inconsistent { what: "device_private", virt: private.at };
            private.follow("device", "device")?.ok_or(missing)
        };
        return links.into_iter().map(device).collect();
    }
    Ok(Vec::new())
}
