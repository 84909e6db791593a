//! Joins what the guest's drivers hold (from memory) with what QEMU says of the same queues, what its threads
//! do and what it has open, and says of each queue who owes whom.
//!
//! A queue of QEMU's is the guest's where both name the same address for its ring; nothing is matched by
//! order or name.

mod judge;
mod queue;
mod threads;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use vmward_kernel_facts::machine::{VirtioDevice, VirtioQueue};
use vmward_kernel_facts::{
    Border, BorderDevice, BorderQueue, BorderRequest, Machine, MatchedBy, QemuQueue, WaitGraph,
};
use vmward_model::observed::{Observed, Virtqueue};

use self::judge::judge;
use self::queue::Seen;

/// Requests of a queue that are told.
const MAX_REQUESTS: usize = 16;

/// Makes the border of a guest.
///
/// `looked_ms` tells when memory was read: not before, and not after, in milliseconds after the first look at
/// QEMU's queues (the clock of [`QueueSample::at_ms`](vmward_model::observed::QueueSample::at_ms)), negative if
/// before. Without it, only what is shown by the age of a request is said of what crosses the two looks.
pub fn border(
    machine: &Machine,
    waits: &WaitGraph,
    observed: &Observed,
    looked_ms: Option<(i64, i64)>,
) -> Option<Border> {
    let devices = machine.virtio.as_ref()?;
    let mut border = Border::default();
    if observed.queues.is_none() {
        border.missing.push("QEMU's side of the queues was not looked at".to_owned());
    }
    let disks = machine.disks.iter().flatten().flat_map(|it| &it.in_flight);
    let ages = disks.filter_map(|it| Some((it.address, it.age_ms?))).collect();
    let facts = Facts { machine, waits, observed, looked_ms, ages };
    for device in devices {
        border.missing.extend(device.problems.iter().map(|it| format!("{}: {it}", device.name)));
        border.devices.push(join(device, &facts));
    }
    for path in paths(observed) {
        if !border.devices.iter().any(|it| it.qemu_path.as_ref() == Some(&path)) {
            border.missing.push(format!("{path} is no device that the guest's drivers hold"));
        }
    }
    Some(border)
}

/// What a border is made from.
struct Facts<'a> {
    machine: &'a Machine,
    waits: &'a WaitGraph,
    observed: &'a Observed,
    looked_ms: Option<(i64, i64)>,
    /// Ages of requests by address, in milliseconds.
    ages: HashMap<u64, u64>,
}

fn join(device: &VirtioDevice, facts: &Facts<'_>) -> BorderDevice {
    let Facts { machine, waits, observed, looked_ms, ages } = facts;
    let path =
        device.queues.iter().find_map(|it| on_qemus_side(observed, it).next()).map(|it| it.1.path.clone());
    let backend = backend(observed, device, path.as_deref());
    let threads = threads::serving(observed);
    let mut joined = BorderDevice {
        name: device.name.clone(),
        driver: device.driver.clone(),
        address: device.parent.clone(),
        serves: device.serves.clone(),
        matched_by: path.is_some().then_some(MatchedBy::RingAddress),
        backend,
        threads,
        ..BorderDevice::default()
    };
    for queue in &device.queues {
        let requests = requests(queue, machine, waits);
        let qemu = on_qemus_side(observed, queue).map(|(at_ms, it)| as_told(at_ms, it)).collect();
        let seen = Seen {
            device,
            queue,
            qemu,
            requests: &requests,
            ages,
            observed,
            looked_ms: *looked_ms,
            joined: &joined,
        };
        let verdict = judge(&seen);
        let told = BorderQueue {
            index: queue.index,
            name: queue.name.clone(),
            avail_idx: queue.avail_idx,
            last_used_idx: queue.last_used_idx,
            used_idx: queue.used_idx,
            outstanding: queue.outstanding,
            qemu: seen.qemu,
            who_owes: verdict.who_owes,
            since_ms: verdict.since_ms,
            evidence: verdict.evidence,
            requests,
        };
        if told.who_owes.gravity() > joined.who_owes.gravity() {
            joined.who_owes = told.who_owes.clone();
        }
        joined.queues.push(told);
    }
    joined.qemu_path = path;
    joined
}

/// QEMU's samples of a queue of the guest's, oldest first.
fn on_qemus_side<'a>(
    observed: &'a Observed,
    queue: &'a VirtioQueue,
) -> impl Iterator<Item = (u64, &'a Virtqueue)> {
    let ours = move |it: &&Virtqueue| {
        let addresses = [Some(queue.desc), queue.desc_dma];
        it.desc.is_some() && addresses.contains(&it.desc) && it.queue == queue.index
    };
    let samples = observed.queues.iter().flatten();
    samples.filter_map(move |sample| Some((sample.at_ms, sample.queues.iter().find(ours)?)))
}

fn as_told(at_ms: u64, queue: &Virtqueue) -> QemuQueue {
    QemuQueue {
        at_ms,
        inuse: queue.inuse,
        last_avail_idx: queue.last_avail_idx,
        shadow_avail_idx: queue.shadow_avail_idx,
        used_idx: queue.used_idx,
        signalled_used: queue.signalled_used,
    }
}

/// Paths of the devices whose queues QEMU showed.
fn paths(observed: &Observed) -> Vec<String> {
    let samples = observed.queues.iter().flatten();
    let mut paths: Vec<String> = samples.flat_map(|it| &it.queues).map(|it| it.path.clone()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Requests of the block layer whose chains are in the queue, oldest first.
fn requests(queue: &VirtioQueue, machine: &Machine, waits: &WaitGraph) -> Vec<BorderRequest> {
    let disks = machine.disks.as_deref().unwrap_or_default();
    let all = || disks.iter().flat_map(|disk| disk.in_flight.iter().map(move |it| (disk, it)));
    let one = |address: u64| {
        let (disk, request) = all().find(|it| it.1.address == address)?;
        let on_page = |object: Option<u64>| object.is_some_and(|it| request.pages.contains(&it));
        Some(BorderRequest {
            disk: disk.name.clone(),
            operation: request.operation.clone(),
            sector: request.sector,
            bytes: request.bytes,
            tag: request.tag,
            age_ms: request.age_ms,
            inode: request.inode.clone(),
            waiters: waits.edges.iter().filter(|it| on_page(it.object)).map(|it| it.waiter).collect(),
        })
    };
    let mut found: Vec<BorderRequest> =
        queue.chains.iter().filter_map(|it| it.request).filter_map(one).collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.age_ms));
    found.truncate(MAX_REQUESTS);
    found
}

/// What a disk is on the host. The counters of QEMU's block layer name the device and the backend's id, by
/// which an argument of the command line is told; files are only known by their descriptors.
fn backend(observed: &Observed, device: &VirtioDevice, path: Option<&str>) -> Vec<String> {
    const DISK: u32 = 2;
    const SCSI: u32 = 8;
    if !matches!(device.device_id, DISK | SCSI) {
        return Vec::new();
    }
    let files = observed.host.as_ref().map(|it| it.disks.as_slice()).unwrap_or_default();
    let counters = observed.blocks.iter().flatten().flat_map(|it| &it.devices);
    let ours = path.and_then(|path| counters.into_iter().find(|it| it.qdev.as_deref() == Some(path)));
    let Some(id) = ours.map(|it| it.device.as_str()) else { return files.to_vec() };
    let named = |text: &&String| {
        let mut words = text.split(|it: char| ", ()\"{}".contains(it));
        words.any(|it| it.strip_prefix("id=").or_else(|| it.strip_prefix("node-name=")) == Some(id))
    };
    let mut backend = vec![format!("block device {id:?} of QEMU")];
    match files.iter().find(named) {
        Some(file) => backend.push(file.clone()),
        None => backend.extend_from_slice(files),
    }
    backend
}
