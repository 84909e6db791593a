//! `registers-dump` and `registers-gdb` (L2): registers of all vCPUs at one moment, with those that the
//! monitor's text has not (KERNEL_GS_BASE; arm64's system registers), by stopping the guest for a moment.
//!
//! Off unless the guest's owner opted in, and only when nothing is in flight: see [`crate::guardian`].

use std::time::Duration;

use vmward_model::observed::{VcpuSample, Vcpus};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, PauseError, Paused, Raw, Step, Taken};

pub(super) struct RegistersDump;
pub(super) struct RegistersGdb;

impl Capture for RegistersDump {
    fn name(&self) -> &'static str {
        "registers-dump"
    }

    fn rung(&self) -> Rung {
        Rung::L2
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Qmp
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(8)
    }

    fn cap(&self) -> usize {
        4 << 20
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async { taken(pauser(cx)?.by_dump().await, "application/x-elf") })
    }
}

impl Capture for RegistersGdb {
    fn name(&self) -> &'static str {
        "registers-gdb"
    }

    fn rung(&self) -> Rung {
        Rung::L2
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Gdb
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(8)
    }

    fn cap(&self) -> usize {
        4 << 20
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(async { taken(pauser(cx)?.by_gdb().await, "text/plain") })
    }
}

fn pauser(cx: &Context) -> Result<&dyn super::Pauser, Miss> {
    cx.pauser.as_deref().ok_or_else(|| Miss::Skipped("the agent has no guardian for a pause".to_owned()))
}

fn taken(result: Result<Paused, PauseError>, media_type: &'static str) -> Outcome {
    let paused = result.map_err(|error| match error {
        PauseError::Refused(why) => Miss::Skipped(why),
        PauseError::Failed(why) => Miss::Failed(why),
    })?;
    let mut taken = Taken {
        missing: paused.missing.into_iter().collect(),
        paused_us: paused.paused_us,
        ..Taken::default()
    };
    if !paused.cpus.is_empty() {
        let samples = vec![VcpuSample { at_ms: 0, cpus: paused.cpus }];
        taken.parts.push(Part::Vcpus(Vcpus { samples }));
    }
    if !paused.raw.is_empty() {
        let raw = Raw { media_type, ..Raw::text(paused.raw, Sensitivity::Memory) };
        taken.raw.push(raw);
    }
    Ok(taken)
}
