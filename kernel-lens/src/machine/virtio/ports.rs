//! Ports of a virtio console: `struct port` (`drivers/char/virtio_console.c`), from the module's own types.

use vmward_kernel_facts::machine::VirtioPort;

use super::super::object::Object;
use crate::ReadError;

/// Ports of a device at most.
const MAX_PORTS: usize = 512;

pub(super) fn read(device: Object<'_, '_>) -> Result<Vec<VirtioPort>, ReadError> {
    let kernel = device.kernel;
    let Some(console) = device.follow("priv", "ports_device")? else { return Ok(Vec::new()) };
    let mut ports = Vec::new();
    for link in console.list("ports")?.into_iter().take(MAX_PORTS) {
        let port = Object::around(kernel, "port", "list", link)?;
        if port.number("portdev")? != console.at {
            return Err(ReadError::Inconsistent { what: "port", virt: port.at });
        }
        ports.push(VirtioPort {
            id: port.small("id")?,
            name: port.text_behind("name")?,
            host_connected: port.number("host_connected")? != 0,
            guest_connected: port.number("guest_connected")? != 0,
            out_full: port.number("outvq_full")? != 0,
        });
    }
    ports.sort_by_key(|it| it.id);
    Ok(ports)
}
