//! Network devices of the initial namespace and their transmit queues: `init_net`, `struct net_device`,
//! `struct netdev_queue`.

use vmward_kernel_facts::machine::{NetDevice, NetQueue};

use super::clock::Ticks;
use super::device;
use super::object::Object;
use crate::{Kernel, ReadError};

/// Transmit queues of a device at most.
const MAX_QUEUES: u64 = 1024;
const UP: u64 = 1;
/// `__LINK_STATE_NOCARRIER`.
const NO_CARRIER: u64 = 1 << 2;
/// `enum netdev_queue_state_t`.
const DRIVER_OFF: u64 = 1;
const STACK_OFF: u64 = 1 << 1;

/// Reads them.
///
/// # Errors
/// What a read of the list or of a device said.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<NetDevice>, ReadError> {
    let net = Object::symbol(kernel, "net", "init_net")?;
    let ticks = Ticks::read(kernel);
    let device = |link| read_device(Object::around(kernel, "net_device", "dev_list", link)?, ticks);
    net.list("dev_base_head")?.into_iter().map(device).collect()
}

fn read_device(device: Object<'_, '_>, ticks: Option<Ticks>) -> Result<NetDevice, ReadError> {
    let kernel = device.kernel;
    let wrong = ReadError::Inconsistent { what: "netdev_queue", virt: device.at };
    let size = kernel.types.size("netdev_queue").ok_or(wrong)?;
    let (first, count) = (device.number("_tx")?, device.number("real_num_tx_queues")?.min(MAX_QUEUES));
    let queue = |index: u64| {
        read_queue(Object::new(kernel, "netdev_queue", first.wrapping_add(index * size)), index, ticks)
    };
    Ok(NetDevice {
        name: device.text("name")?,
        index: device.small("ifindex")?,
        path: device.inside("dev", "device").and_then(device::parent_path).unwrap_or_default(),
        up: device.number("flags")? & UP != 0,
        carrier: device.number("state")? & NO_CARRIER == 0,
        operstate: device.small("operstate")?,
        mtu: device.small("mtu")?,
        queues: (0..count).map(queue).collect::<Result<_, _>>()?,
    })
}

fn read_queue(queue: Object<'_, '_>, index: u64, ticks: Option<Ticks>) -> Result<NetQueue, ReadError> {
    let state = queue.number("state")?;
    let sent = queue.number("trans_start")?;
    let waiting = queue.follow("qdisc", "Qdisc")?.map(|it| it.small("q.qlen")).transpose()?;
    // Only with CONFIG_BQL. Both counters wrap.
    let queued = queue.small("dql.num_queued").unwrap_or(0);
    let done = queue.small("dql.num_completed").unwrap_or(0);
    Ok(NetQueue {
        index: index as u32,
        stopped_by_driver: state & DRIVER_OFF != 0,
        stopped_by_stack: state & STACK_OFF != 0,
        waiting: waiting.unwrap_or(0),
        bytes_under_way: queued.wrapping_sub(done),
        last_sent_ms: ticks.filter(|_| sent != 0).map(|it| it.since_ms(sent)),
        timeouts: queue.number("trans_timeout").unwrap_or(0),
    })
}
