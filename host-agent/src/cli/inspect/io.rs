//! `io`: disks, requests under way, and virtio rings as the guest's drivers hold them.
//!
//! What QEMU and the host say of the same is in a diagnosis, which has both sides.

use vmward_kernel_facts::Examination;
use vmward_kernel_facts::machine::{Disk, VirtioDevice, VirtioQueue};

use super::super::Output;

pub(super) fn show(found: &Examination, out: &mut Output) {
    match &found.machine.disks {
        Some(all) => disks(all, out),
        None => drop(out.line("The disks could not be read.")),
    }
    out.line("");
    match &found.machine.virtio {
        Some(all) => rings(all, out),
        None => drop(out.line("The virtio devices could not be read.")),
    }
}

fn disks(disks: &[Disk], out: &mut Output) {
    let rows: Vec<[String; 7]> = disks
        .iter()
        .map(|it| {
            let marks = [(it.frozen, "frozen"), (it.quiesced, "quiesced")];
            let mut state: Vec<String> = marks.iter().filter(|it| it.0).map(|it| it.1.to_owned()).collect();
            if !it.stopped_queues.is_empty() {
                state.push("stopped by its driver".to_owned());
            }
            [
                it.name.clone(),
                format!("{}:{}", it.device.0, it.device.1),
                (it.sectors / 2048).to_string(),
                it.scheduler.clone().unwrap_or_else(|| "none".to_owned()),
                it.in_flight.len().to_string(),
                state.join(", "),
                it.path.clone(),
            ]
        })
        .collect();
    out.table(["DISK", "NUMBER", "MIB", "SCHEDULER", "IN FLIGHT", "STATE", "PATH"], &rows);
    let requests: Vec<[String; 7]> = disks
        .iter()
        .flat_map(|disk| disk.in_flight.iter().map(move |it| (disk, it)))
        .map(|(disk, it)| {
            let age = it.age_ms.map(|ms| format!("{}.{:03} s", ms / 1000, ms % 1000));
            let of = it.inode.as_ref().map(|(system, inode)| format!("{system} inode {inode}"));
            [
                disk.name.clone(),
                it.operation.clone(),
                it.sector.to_string(),
                it.bytes.to_string(),
                format!("{}/{}", it.queue, it.tag),
                age.unwrap_or_default(),
                of.unwrap_or_default(),
            ]
        })
        .collect();
    if !requests.is_empty() {
        let headings = ["DISK", "REQUEST", "SECTOR", "BYTES", "QUEUE/TAG", "AGE", "OF FILE"];
        out.line("").table(headings, &requests);
    }
}

fn rings(devices: &[VirtioDevice], out: &mut Output) {
    let rows: Vec<[String; 9]> =
        devices.iter().flat_map(|device| device.queues.iter().map(move |it| ring(device, it))).collect();
    let headings = ["DEVICE", "SERVES", "QUEUE", "SIZE", "OFFERED", "ANSWERED", "TAKEN", "OUT", "STATE"];
    out.table(headings, &rows);
    for device in devices {
        for port in device.ports.iter().filter(|it| it.out_full) {
            let name = port.name.as_deref().unwrap_or("a port");
            out.line(&format!("{}: no room to send on {name} ({})", device.name, port.id));
        }
        out.lines(device.problems.iter().map(|it| format!("{}: {it}", device.name)));
    }
}

fn ring(device: &VirtioDevice, queue: &VirtioQueue) -> [String; 9] {
    let untaken = queue.untaken().filter(|_| !device.is_lazy(queue)).unwrap_or(0);
    let by_host = queue.outstanding.saturating_sub(queue.untaken().unwrap_or(0));
    let state = match () {
        () if queue.broken || device.failed => "given up by the driver".to_owned(),
        () if untaken > 0 => format!("{untaken} answers not taken"),
        () if queue.is_supply() && queue.outstanding > 0 => "waits for something to happen".to_owned(),
        () if by_host > 0 => "the host owes answers".to_owned(),
        () => String::new(),
    };
    [
        format!("{} {}", device.name, device.driver.as_deref().unwrap_or("without a driver")),
        device.serves.join(", "),
        queue.name.clone(),
        queue.size.to_string(),
        queue.avail_idx.to_string(),
        queue.used_idx.map(|it| it.to_string()).unwrap_or_default(),
        queue.last_used_idx.to_string(),
        queue.outstanding.to_string(),
        state,
    ]
}
