//! Whether anything is in flight in QEMU's block layer: the condition for rung L2.
//!
//! `stop`, a dump and a gdb attach drain and flush the block layer under QEMU's big lock
//! (`do_vm_stop`), so they return only when every request has been answered. What cannot be read counts
//! as in flight: disks that are no virtio device, queues that vhost serves, a QEMU without
//! `x-query-virtio`. Between this look and the stop the guest may begin a request that is then not
//! answered: the race cannot be closed from outside, it is a few milliseconds wide, and the pause's
//! guardian limits what it costs but cannot undo a drain.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::virtqueues::{Map, ask_one};
use super::{Miss, Monitor, Question, json};

/// Between the two looks; a queue that is empty twice and did not move was idle meanwhile.
const BETWEEN: Duration = Duration::from_millis(50);

/// Why the guest may not be stopped just now; `Ok` when nothing is in flight.
///
/// # Errors
/// The reason, for the record.
pub async fn nothing_in_flight(monitor: &dyn Monitor) -> Result<(), String> {
    let began = Instant::now();
    let map = Map::ask(monitor).await.map_err(|it| unknown("virtqueues", &it))?;
    if let Some(missing) = map.missing.first() {
        return Err(format!("what is in flight cannot all be read: {missing}"));
    }
    // Guests do without a medium; drives that hold one need a queue that can be read.
    let stats = ask_one(monitor, Question::BlockStats).await.map_err(|it| unknown("block devices", &it))?;
    let served: HashSet<&str> = map.queues.iter().map(|(path, _, _)| path.as_str()).collect();
    for device in json::list(&stats, usize::MAX).filter(|it| it.get("node-name").is_some()) {
        let qdev = json::text(device, "qdev").unwrap_or_default();
        // A device with an id is named by its QOM path, with `/virtio-backend` below it in x-query-virtio.
        let known =
            served.iter().any(|path| *path == qdev || path.strip_suffix("/virtio-backend") == Some(&qdev));
        if !known {
            return Err(format!(
                "what is in flight on disk {qdev:?} cannot be read: it is no virtio-blk device"
            ));
        }
    }
    let jobs = ask_one(monitor, Question::Jobs).await.map_err(|it| unknown("block jobs", &it))?;
    if json::list(&jobs, 1).count() > 0 {
        return Err("a block job runs".to_owned());
    }
    let migration = ask_one(monitor, Question::Migration).await.map_err(|it| unknown("migration", &it))?;
    let status = json::text(&migration, "status").unwrap_or_default();
    if !matches!(status.as_str(), "" | "none" | "completed" | "cancelled" | "failed") {
        return Err(format!("a migration is {status}"));
    }
    for look in 0..2 {
        if look > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let (sample, _) = map.sample(monitor, began).await.map_err(|it| unknown("virtqueues", &it))?;
        let busy = sample.queues.iter().filter(|it| is_disk(&it.device)).find(|it| {
            // What the guest has offered and QEMU has not taken is in flight, too.
            it.inuse != 0 || it.last_avail_idx != it.shadow_avail_idx
        });
        if let Some(queue) = busy {
            return Err(format!(
                "queue {} of {} has {} requests in flight",
                queue.queue, queue.path, queue.inuse
            ));
        }
    }
    Ok(())
}

/// Devices whose queues hold requests to the block layer. Others keep buffers in use at rest (a net
/// device's receive queue), and a stop does not wait for them.
fn is_disk(device: &str) -> bool {
    device.contains("blk") || device.contains("scsi") || device.contains("pmem") || device.contains("fs")
}

fn unknown(what: &str, miss: &Miss) -> String {
    match miss {
        Miss::Failed(why) | Miss::Refused(why) | Miss::Skipped(why) => {
            format!("what is in flight cannot be read ({what}): {why}")
        }
        Miss::With(inner, _) => unknown(what, inner),
    }
}
