//! `virtqueues-later` (L1): one more look at the virtqueues when all else is through, where a disk's queue
//! stood still in the second that `virtqueues` watched, or the guest's drivers wait for an answer.
//!
//! What it tells: a disk that answers a few large requests each second looks silent for a second, and
//! is not: over the time of a whole diagnosis its used index moves. One that is silent stays so.

use std::time::{Duration, Instant};

use serde_json::json;
use vmward_findings::Look;
use vmward_model::observed::{QueueSample, Virtqueue};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::virtqueues::Map;
use super::{Capture, Context, Examined, Miss, Outcome, Part, Raw, Step, Taken, Turn};

pub(super) struct VirtqueuesLater;

impl Capture for VirtqueuesLater {
    fn name(&self) -> &'static str {
        "virtqueues-later"
    }

    fn rung(&self) -> Rung {
        Rung::L1
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn cap(&self) -> usize {
        1 << 20
    }

    fn turn(&self) -> Turn {
        Turn::Last
    }

    fn needed(&self, _cx: &Context, so_far: &Examined) -> Result<(), String> {
        match &so_far.observed.queues {
            Some(samples) if one_stands_still(samples) || so_far.kernel.look.as_ref().is_some_and(owed) => {
                Ok(())
            }
            Some(_) => {
                Err("no disk's queue stood still with requests in it, and memory shows none".to_owned())
            }
            None => Err("the queues were not watched before".to_owned()),
        }
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let monitor = cx.monitor()?;
            let Some(since) = cx.queues_since.get() else {
                return Err(Miss::Skipped("the queues were not watched before".to_owned()));
            };
            let map = Map::ask(monitor).await?;
            let (sample, raw) = map.sample(monitor, *since).await?;
            let raw = vec![Raw::json(&json!({ "at_ms": sample.at_ms, "queues": raw }), Sensitivity::Status)];
            Ok(Taken { parts: vec![Part::QueuesLater(sample)], raw, missing: map.missing, paused_us: 0 })
        })
    }
}

/// Whether a disk's queue held requests at each look and completed none in between.
fn one_stands_still(samples: &[QueueSample]) -> bool {
    let Some((last, earlier)) = samples.split_last() else { return false };
    let disk = |it: &&Virtqueue| it.device.contains("blk") || it.device.contains("scsi");
    let still = |queue: &Virtqueue| {
        let before = earlier.iter().flat_map(|it| &it.queues);
        before
            .filter(|it| it.path == queue.path && it.queue == queue.queue)
            .all(|it| it.inuse > 0 && it.used_idx == queue.used_idx)
    };
    last.queues.iter().filter(disk).any(|it| it.inuse > 0 && still(it))
}

/// Whether the guest's drivers wait for an answer. QEMU may not have heard of the request.
fn owed(look: &Look) -> bool {
    let mut queues = look.machine.virtio.iter().flatten().flat_map(|it| &it.queues);
    queues.any(|it| !it.is_supply() && it.outstanding > 0)
}

/// When the queues were first looked at; the times of all samples count from here.
pub(super) fn since(cx: &Context) -> Instant {
    *cx.queues_since.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, device: &str, inuse: u32, used: u32) -> QueueSample {
        let queue = Virtqueue {
            path: "/machine/peripheral/disk1/virtio-backend".into(),
            device: device.into(),
            inuse,
            used_idx: Some(used),
            ..Virtqueue::default()
        };
        QueueSample { at_ms, queues: vec![queue] }
    }

    #[test]
    fn a_second_look_is_worth_it_only_where_a_disk_stood_still() {
        let two = |device: &str, used| [sample(0, device, 3, 7), sample(1000, device, 3, used)];
        assert!(one_stands_still(&two("virtio-blk", 7)));
        assert!(!one_stands_still(&two("virtio-blk", 8)), "it moves");
        assert!(!one_stands_still(&two("virtio-serial", 7)), "no disk");
        assert!(!one_stands_still(&[]));
    }
}
