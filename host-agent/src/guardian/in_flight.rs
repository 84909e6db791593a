//! Is anything in flight between the guest and its disks? What cannot be read counts as in flight.

use std::time::Duration;

use qapi::qmp;
use serde_json::Value;

use crate::transport::qmp::{AskError, Qmp};

/// Most queues looked at; a guest with more is refused.
const MAX_QUEUES: u64 = 4096;

/// Why L2 is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not run: there is nothing of ours to undo, and `D` would start it.
    #[error("the guest does not run (it is {0})")]
    NotRunning(String),
    /// A migration is on.
    #[error("the guest migrates")]
    Migrating,
    /// A block job or another job is on.
    #[error("job {0} is not over")]
    Job(String),
    /// A queue has requests that the host owes.
    #[error("{inuse} requests are in flight on queue {queue} of {device}")]
    InFlight {
        /// Device path.
        device: String,
        /// Queue number.
        queue: u16,
        /// Requests.
        inuse: u64,
    },
    /// Something cannot be read, so it counts as in flight.
    #[error("cannot tell what is in flight: {0}")]
    Unreadable(String),
}

impl From<AskError> for Refusal {
    fn from(e: AskError) -> Self {
        Self::Unreadable(e.to_string())
    }
}

/// Looks at everything; `Ok` when all of it can be read and is zero. Each question has `step`.
///
/// # Errors
/// [`Refusal`].
pub async fn check(qmp: &Qmp, step: Duration) -> Result<(), Refusal> {
    if migrating(qmp, step).await? {
        return Err(Refusal::Migrating);
    }
    for job in qmp.ask(qmp::query_jobs {}, step).await? {
        if !matches!(job.status, qmp::JobStatus::concluded | qmp::JobStatus::null) {
            return Err(Refusal::Job(job.id));
        }
    }
    let devices = qmp.ask(qmp::x_query_virtio {}, step).await?;
    let stats = qmp.ask_raw(qmp::query_blockstats { query_nodes: None }, step).await?;
    let paths: Vec<&str> = devices.iter().map(|d| d.path.as_str()).collect();
    disks_are_readable(&stats, &paths)?;
    let mut queues = 0;
    for path in paths {
        let asked = qmp::x_query_virtio_status { path: path.to_owned() };
        let status = qmp.ask_raw(asked, step).await?;
        let count = number_of_queues(path, &status)?;
        queues += u64::from(count);
        if queues > MAX_QUEUES {
            return Err(Refusal::Unreadable(format!("more than {MAX_QUEUES} virtqueues")));
        }
        for queue in 0..count {
            let asked = qmp::x_query_virtio_queue_status { path: path.to_owned(), queue };
            let status = qmp.ask_raw(asked, step).await?;
            idle(path, queue, &status)?;
        }
    }
    // Last, so that it is the newest fact when the stop follows.
    let status = qmp.ask(qmp::query_status {}, step).await?;
    if status.status != qmp::RunState::running {
        return Err(Refusal::NotRunning(format!("{:?}", status.status)));
    }
    Ok(())
}

/// True while a migration (or a snapshot, which is one) is on.
///
/// # Errors
/// [`AskError`].
pub async fn migrating(qmp: &Qmp, step: Duration) -> Result<bool, AskError> {
    use qmp::MigrationStatus as S;
    let info = qmp.ask(qmp::query_migrate {}, step).await?;
    let over = [S::none, S::completed, S::failed, S::cancelled];
    Ok(info.status.is_some_and(|status| !over.contains(&status)))
}

/// Every disk with a medium must be a virtio device whose queues can be read, or the flash of the
/// firmware, whose device model waits for each write. (`query-blockstats` asks no image file.)
fn disks_are_readable(stats: &Value, virtio: &[&str]) -> Result<(), Refusal> {
    let list = stats.as_array().ok_or_else(|| unreadable("query-blockstats"))?;
    for disk in list {
        let text = |name: &str| disk.get(name).and_then(Value::as_str).unwrap_or_default();
        let (device, qdev) = (text("device"), text("qdev"));
        let no_medium = disk.get("node-name").is_none();
        let attached = !qdev.is_empty();
        let flash = qdev.starts_with("/machine/") && qdev.contains(".flash");
        if no_medium || !attached || flash || virtio.contains(&qdev) {
            continue;
        }
        return Err(unreadable(&format!("disk {device} at {qdev} is no virtio disk")));
    }
    Ok(())
}

fn number_of_queues(path: &str, status: &Value) -> Result<u16, Refusal> {
    if status.get("vhost-started").and_then(Value::as_bool) != Some(false) {
        return Err(unreadable(&format!("{path} is served by vhost")));
    }
    let count = status.get("num-vqs").and_then(Value::as_u64);
    count.and_then(|n| n.try_into().ok()).ok_or_else(|| unreadable(path))
}

fn idle(path: &str, queue: u16, status: &Value) -> Result<(), Refusal> {
    match status.get("inuse").and_then(Value::as_u64) {
        Some(0) => Ok(()),
        Some(inuse) => Err(Refusal::InFlight { device: path.to_owned(), queue, inuse }),
        None => Err(unreadable(path)),
    }
}

fn unreadable(what: &str) -> Refusal {
    Refusal::Unreadable(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_disk_whose_queues_cannot_be_read_counts_as_in_flight() {
        let v = "/machine/peripheral/d/virtio-backend";
        let on_virtio = json!([{ "device": "", "qdev": v, "node-name": "n" }]);
        assert_eq!(disks_are_readable(&on_virtio, &[v]), Ok(()));
        let empty_cd = json!([{ "device": "ide1-cd0", "qdev": "/machine/unattached/device[24]" }]);
        assert_eq!(disks_are_readable(&empty_cd, &[]), Ok(()));
        let flash = json!([{ "device": "pflash0", "qdev": "/machine/system.flash0", "node-name": "n" }]);
        assert_eq!(disks_are_readable(&flash, &[]), Ok(()));
        let nvme = json!([{ "device": "", "qdev": "/machine/peripheral/nvme0", "node-name": "n" }]);
        assert!(disks_are_readable(&nvme, &[v]).is_err());
        assert!(disks_are_readable(&json!({}), &[]).is_err());
    }

    #[test]
    fn a_queue_is_idle_only_when_it_says_so() {
        assert_eq!(idle("d", 0, &json!({ "inuse": 0 })), Ok(()));
        assert!(matches!(idle("d", 1, &json!({ "inuse": 2 })), Err(Refusal::InFlight { .. })));
        assert!(matches!(idle("d", 1, &json!({})), Err(Refusal::Unreadable(_))));
        assert!(number_of_queues("d", &json!({ "num-vqs": 1, "vhost-started": true })).is_err());
        assert_eq!(number_of_queues("d", &json!({ "num-vqs": 3, "vhost-started": false })), Ok(3));
    }
}
