//! `virtqueues` (L1): every virtqueue that QEMU serves itself, twice, a second apart.
//!
//! What it tells: `inuse` above zero and indices that stand still: the host owes the guest completions.
//! The guest's available index ahead of QEMU's: the notification was lost or the I/O thread is stuck.
//! Queues that vhost serves live in the host's kernel or another process and are named as missing.
//! QEMU 7.2 and later have the commands (`qapi/virtio.json`, unstable).

use std::time::{Duration, Instant};

use serde_json::Value;
use vmward_model::observed::{QueueSample, Virtqueue};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{AskFailure, Capture, Context, Miss, Monitor, Outcome, Part, Question, Raw, Step, Taken, json};

const EACH: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_secs(1);
const MAX_DEVICES: usize = 64;
const MAX_QUEUES: u64 = 64;
const MAX_QUEUES_ALL: usize = 512;

pub(super) struct Virtqueues;

impl Capture for Virtqueues {
    fn name(&self) -> &'static str {
        "virtqueues"
    }

    fn rung(&self) -> Rung {
        Rung::L1
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(7)
    }

    fn cap(&self) -> usize {
        1 << 20
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async {
            let monitor = cx.monitor()?;
            let began = super::virtqueues_later::since(cx);
            let map = Map::ask(monitor).await?;
            let first = map.sample(monitor, began).await?;
            let mut missing = map.missing.clone();
            tokio::time::sleep(BETWEEN).await;
            let mut samples = vec![first];
            match map.sample(monitor, began).await {
                Ok(second) => samples.push(second),
                Err(why) => missing.push(format!("the second look: {why:?}")),
            }
            let raw = serde_json::json!({
                "devices": map.answers,
                "samples": samples.iter().map(|it| &it.1).collect::<Vec<_>>(),
            });
            let samples = samples.into_iter().map(|it| it.0).collect();
            let raw = vec![Raw::json(&raw, Sensitivity::Status)];
            Ok(Taken { parts: vec![Part::Queues(samples)], raw, missing, paused_us: 0 })
        })
    }
}

/// Which queues there are.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Path, device type, queue number.
    pub(super) queues: Vec<(String, String, u16)>,
    /// Queues and devices that cannot be read.
    pub(super) missing: Vec<String>,
    answers: Vec<Value>,
}

impl Map {
    /// Asks for the devices and their number of queues.
    pub(super) async fn ask(monitor: &dyn Monitor) -> Result<Map, Miss> {
        let list = ask_one(monitor, Question::Virtio).await?;
        let devices: Vec<(String, String)> = json::list(&list, MAX_DEVICES)
            .filter_map(|it| Some((json::text(it, "path")?, json::text(it, "name")?)))
            .collect();
        let questions =
            devices.iter().map(|(path, _)| Question::VirtioStatus { path: path.clone() }).collect();
        let answers = monitor.ask(questions, EACH).await.map_err(|it| Miss::Failed(it.why))?;
        let mut map = Map::default();
        if json::list(&list, usize::MAX).count() > devices.len() {
            map.missing.push("some virtio devices were not looked at".to_owned());
        }
        for ((path, name), answer) in devices.into_iter().zip(answers) {
            match answer {
                Ok(status) => {
                    map.add(path, name, &status);
                    map.answers.push(status);
                }
                Err(why) => map.missing.push(format!("{name} at {path}: {why}")),
            }
        }
        Ok(map)
    }

    fn add(&mut self, path: String, name: String, status: &Value) {
        if status.get("vhost-started").and_then(Value::as_bool) == Some(true) {
            self.missing
                .push(format!("{name} at {path} is served by vhost: its queues are not QEMU's to show"));
            return;
        }
        let count = json::number(status, "num-vqs").unwrap_or(0);
        let kept = count.min(MAX_QUEUES);
        let room = MAX_QUEUES_ALL.saturating_sub(self.queues.len());
        let queues = (0..u16::try_from(kept).unwrap_or(0)).take(room);
        let before = self.queues.len();
        self.queues.extend(queues.map(|queue| (path.clone(), name.clone(), queue)));
        let added = u64::try_from(self.queues.len() - before).unwrap_or(0);
        if added < count {
            self.missing
                .push(format!("{name} at {path}: {} of {count} queues were not looked at", count - added));
        }
    }

    /// One look at every queue. The raw answers are beside it.
    pub(super) async fn sample(
        &self,
        monitor: &dyn Monitor,
        began: Instant,
    ) -> Result<(QueueSample, Value), Miss> {
        let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let question = |(path, _, queue): &(String, String, u16)| Question::VirtioQueue {
            path: path.clone(),
            queue: *queue,
        };
        let answers = monitor.ask(self.queues.iter().map(question).collect(), EACH).await;
        let answers = answers.map_err(|it| Miss::Failed(it.why))?;
        let (mut queues, mut raw) = (Vec::new(), Vec::new());
        for ((path, device, queue), answer) in self.queues.iter().zip(answers) {
            match answer {
                // A queue that the driver did not set up has no ring.
                Ok(status) if json::number(&status, "vring-desc").unwrap_or(0) != 0 => {
                    queues.push(virtqueue(path, device, *queue, &status)?);
                    raw.push(status);
                }
                // QEMU's word for the same ("Invalid virtqueue number") on a queue of size 0.
                Ok(_) | Err(AskFailure::Refused(_)) => {}
                Err(why) => return Err(Miss::Failed(format!("queue {queue} of {path}: {why}"))),
            }
        }
        Ok((QueueSample { at_ms, queues }, Value::Array(raw)))
    }
}

fn virtqueue(path: &str, device: &str, queue: u16, status: &Value) -> Result<Virtqueue, Miss> {
    let inuse = json::small(status, "inuse")
        .ok_or_else(|| Miss::Failed(format!("queue {queue} of {path}: the answer has no inuse")))?;
    Ok(Virtqueue {
        path: path.to_owned(),
        device: device.to_owned(),
        queue: u32::from(queue),
        inuse,
        last_avail_idx: json::small(status, "last-avail-idx"),
        shadow_avail_idx: json::small(status, "shadow-avail-idx"),
        used_idx: json::small(status, "used-idx"),
        signalled_used: json::small(status, "signalled-used")
            .filter(|_| status.get("signalled-used-valid").and_then(Value::as_bool) == Some(true)),
        size: json::small(status, "vring-num"),
        desc: json::number(status, "vring-desc"),
    })
}

pub(super) async fn ask_one(monitor: &dyn Monitor, question: Question) -> Result<Value, Miss> {
    match monitor.ask(vec![question], EACH).await.map(|mut it| it.pop()) {
        Ok(Some(Ok(value))) => Ok(value),
        Ok(Some(Err(AskFailure::Refused(why)))) => Err(Miss::Refused(why)),
        Ok(Some(Err(why))) => Err(Miss::Failed(why.to_string())),
        Ok(None) => Err(Miss::Failed("no answer".to_owned())),
        Err(unreachable) => Err(Miss::Failed(unreachable.why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn queues_of_vhost_are_named_as_missing() {
        let mut map = Map::default();
        map.add("/n".into(), "virtio-net".into(), &json!({"vhost-started": true, "num-vqs": 3}));
        map.add("/b".into(), "virtio-blk".into(), &json!({"vhost-started": false, "num-vqs": 2}));
        assert_eq!(map.queues.len(), 2);
        assert!(map.missing[0].contains("vhost"), "{:?}", map.missing);
    }

    #[test]
    fn a_device_with_a_hostile_number_of_queues_is_cut_and_said_so() {
        let mut map = Map::default();
        map.add("/b".into(), "virtio-blk".into(), &json!({"num-vqs": u64::MAX}));
        assert_eq!(map.queues.len(), 64);
        assert_eq!(map.missing.len(), 1);
    }
}
