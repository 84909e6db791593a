//! `net`: network devices with their transmit queues.

use vmward_kernel_facts::Examination;
use vmward_kernel_facts::machine::{NetDevice, NetQueue};

use super::super::Output;

pub(super) fn show(found: &Examination, out: &mut Output) {
    let Some(devices) = &found.machine.networks else {
        out.line("The network devices could not be read.");
        return;
    };
    let rows: Vec<[String; 8]> =
        devices.iter().flat_map(|device| device.queues.iter().map(move |it| row(device, it))).collect();
    let headings = ["DEVICE", "LINK", "MTU", "QUEUE", "WAITING", "BYTES UNDER WAY", "LAST SENT", "STATE"];
    out.table(headings, &rows);
}

fn row(device: &NetDevice, queue: &NetQueue) -> [String; 8] {
    let link = match (device.up, device.carrier) {
        (false, _) => "down",
        (true, false) => "up, no carrier",
        (true, true) => "up",
    };
    let marks = [
        (queue.stopped_by_driver, "stopped: the device has no room"),
        (queue.stopped_by_stack, "stopped: enough under way"),
        (queue.timeouts > 0, "took too long before"),
    ];
    let state: Vec<&str> = marks.iter().filter(|it| it.0).map(|it| it.1).collect();
    [
        device.name.clone(),
        link.to_owned(),
        device.mtu.to_string(),
        queue.index.to_string(),
        queue.waiting.to_string(),
        queue.bytes_under_way.to_string(),
        queue.last_sent_ms.map(|ms| format!("{}.{:03} s ago", ms / 1000, ms % 1000)).unwrap_or_default(),
        state.join(", "),
    ]
}
