//! `registers` (L1): registers of all vCPUs without a stop, five times in about a second, so that a spin
//! (the same few addresses, never halted) is told from work and from idling.
//!
//! Not atomic across vCPUs. On KVM it kicks each vCPU, so the gate is asked again before each sample.

use std::time::{Duration, Instant};

use serde_json::Value;
use vmward_model::observed::{VcpuSample, Vcpus};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::virtqueues::ask_one;
use super::{Capture, Context, Miss, Outcome, Part, Question, Raw, Step, Taken, gate, info_registers};

const SAMPLES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(250);

pub(super) struct Registers;

impl Capture for Registers {
    fn name(&self) -> &'static str {
        "registers"
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
        4 << 20
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx))
    }
}

async fn take(cx: &Context) -> Outcome {
    let monitor = cx.monitor()?;
    let began = Instant::now();
    let (mut samples, mut raw, mut missing) = (Vec::new(), String::new(), Vec::new());
    for n in 0..SAMPLES {
        if n > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        if let Some(why) = gate::closed(&cx.process, &cx.vcpu_tids()).await {
            missing.push(why.to_string());
            break;
        }
        let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match ask_one(monitor, Question::Registers).await {
            Ok(Value::String(text)) => {
                let (cpus, problems) = info_registers::parse(&text);
                if !cpus.is_empty() {
                    samples.push(VcpuSample { at_ms, cpus });
                }
                for problem in problems {
                    if !missing.contains(&problem) {
                        missing.push(problem);
                    }
                }
                raw.push_str(&format!("# {at_ms} ms\n{text}\n"));
            }
            Ok(_) => missing.push("the answer is no text".to_owned()),
            Err(miss) => {
                missing.push(match miss {
                    Miss::Failed(why) | Miss::Refused(why) | Miss::Skipped(why) => why,
                    Miss::With(..) => "no answer".to_owned(),
                });
                // One silence is enough: what is in QEMU's way stays there.
                break;
            }
        }
    }
    if samples.is_empty() {
        return Err(Miss::Failed(missing.join("; ")));
    }
    let raw = vec![Raw::text(raw, Sensitivity::Memory)];
    Ok(Taken { parts: vec![Part::Vcpus(Vcpus { samples })], raw, missing, paused_us: 0 })
}
