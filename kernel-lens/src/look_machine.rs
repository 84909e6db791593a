//! The state of the machine, subject by subject: what one cannot be read leaves the others.

use vmward_kernel_facts::Machine;

use crate::machine::{
    block, clock, interrupts, memory, modules, mounts, net, pressure, rcu, run_queue, slab, system, timers,
    virtio, watchdog, workqueue,
};
use crate::{Kernel, ReadError};

/// Reads every subject; says of each that could not be read why.
pub(crate) fn machine(kernel: &Kernel<'_>, problems: &mut Vec<String>) -> Machine {
    let told =
        &mut |what: &str, error: ReadError| problems.push(format!("{what} could not be read: {error}"));
    let disks = kept("the disks", block::read(kernel), told);
    let networks = kept("the network devices", net::read(kernel), told);
    let devices = virtio::read(kernel, disks.as_deref(), networks.as_deref());
    Machine {
        system: kept("the system's state", system::read(kernel), told),
        clock: kept("the clocks", clock::read(kernel), told),
        run_queues: kept("the runqueues", run_queue::read(kernel), told),
        memory: kept("the memory's use", memory::read(kernel), told),
        rcu: kept("RCU", rcu::read(kernel), told),
        watchdog: kept("the lockup detectors", watchdog::read(kernel), told),
        workqueues: kept("the workqueues", workqueue::read(kernel), told),
        mounts: kept("the mounts", mounts::read(kernel), told),
        virtio: kept("the virtio devices", devices, told),
        disks,
        networks,
        modules: kept("the modules", modules::read(kernel), told),
        slab: kept("the slab caches", slab::read(kernel), told),
        pressure: kept("pressure", pressure::read(kernel), told).flatten(),
        timers: kept("the timers", timers::read(kernel), told),
        interrupts: kept("the interrupts", interrupts::read(kernel), told),
    }
}

fn kept<T>(what: &str, read: Result<T, ReadError>, told: &mut impl FnMut(&str, ReadError)) -> Option<T> {
    read.map_err(|error| told(what, error)).ok()
}
