//! `block-stats` (L1): counters of all block devices, twice, a second apart. Counters that stand still
//! while requests are in flight are a disk that does not answer.

use std::time::{Duration, Instant};

use serde_json::Value;
use vmward_model::observed::{BlockCounters, BlockSample};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Question, Raw, Step, Taken, json};

const EACH: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_secs(1);
/// Devices read at most.
const MAX_DEVICES: usize = 512;

pub(super) struct BlockStats;

impl Capture for BlockStats {
    fn name(&self) -> &'static str {
        "block-stats"
    }

    fn rung(&self) -> Rung {
        Rung::L1
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(6)
    }

    fn cap(&self) -> usize {
        512 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx))
    }
}

async fn take(cx: &Context) -> Outcome {
    let monitor = cx.monitor()?;
    let began = Instant::now();
    let (mut samples, mut raw, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..2 {
        if n > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match monitor.ask(vec![Question::BlockStats], EACH).await.map(|mut it| it.pop()) {
            Ok(Some(Ok(answer))) => {
                samples.push(BlockSample { at_ms, devices: devices(&answer) });
                raw.push(answer);
            }
            Ok(Some(Err(why))) => missing.push(why.to_string()),
            Ok(None) => missing.push("no answer".to_owned()),
            Err(unreachable) => missing.push(unreachable.why),
        }
    }
    if samples.is_empty() {
        return Err(Miss::Failed(missing.join("; ")));
    }
    let raw = vec![Raw::json(&Value::Array(raw), Sensitivity::Status)];
    Ok(Taken { parts: vec![Part::Blocks(samples)], raw, missing, paused_us: 0 })
}

/// Devices with a medium; an empty drive has no node.
pub(super) fn devices(answer: &Value) -> Vec<BlockCounters> {
    json::list(answer, MAX_DEVICES).filter(|it| it.get("node-name").is_some()).filter_map(one).collect()
}

fn one(device: &Value) -> Option<BlockCounters> {
    let stats = device.get("stats")?;
    let count = |key| json::number(stats, key).unwrap_or(0);
    let named = |key| json::text(device, key).filter(|it| !it.is_empty());
    Some(BlockCounters {
        qdev: named("qdev"),
        device: named("device").or_else(|| named("qdev")).or_else(|| named("node-name"))?,
        rd_ops: count("rd_operations"),
        wr_ops: count("wr_operations"),
        flush_ops: count("flush_operations"),
        rd_bytes: count("rd_bytes"),
        wr_bytes: count("wr_bytes"),
        failed_ops: [
            count("failed_rd_operations"),
            count("failed_wr_operations"),
            count("failed_flush_operations"),
        ]
        .into_iter()
        .fold(0, u64::saturating_add),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_are_taken_and_empty_drives_and_nonsense_are_left_out() {
        let answer = json!([
            {"device": "", "qdev": "/machine/peripheral/vb0/virtio-backend", "node-name": "#block1",
             "stats": {"rd_operations": 3, "wr_operations": 4, "flush_operations": 1, "rd_bytes": 512,
                       "wr_bytes": 4096, "failed_rd_operations": 1, "failed_flush_operations": 1}},
            {"device": "ide1-cd0", "stats": {"rd_operations": 0}},
            {"node-name": "x"}, 7,
        ]);
        let devices = devices(&answer);
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].device, "/machine/peripheral/vb0/virtio-backend");
        assert_eq!((devices[0].ops(), devices[0].failed_ops, devices[0].wr_bytes), (8, 2, 4096));
        assert_eq!(super::devices(&json!({"device": "x"})), []);
    }
}
