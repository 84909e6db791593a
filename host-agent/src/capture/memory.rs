//! `memory` (L1) and `memory-alone` (L0): what the guest's kernel was doing, read out of its memory while
//! it runs (or hangs), with no symbols, no agent and no stop.
//!
//! `memory` has the vCPUs' registers from the monitor. `memory-alone` is taken when that came to nothing:
//! it finds the kernel by a scan, with the layout of an earlier time or of the command line, and works with
//! QMP dead. SysRq comes after both, and what memory told is not asked for again.

use std::time::{Duration, Instant};

use vmward_findings::{KernelSeen, Look};
use vmward_kernel_facts::{Examination, LogStyle, Task, TaskState};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Examined, Miss, Outcome, Part, Raw, Step, Taken, Turn};

/// Tasks with their stacks in the case; all are in the artifact.
const MAX_TASKS: usize = 2000;
/// Bytes of the whole examination as an artifact: 5,000 tasks with their stacks take 12 MiB.
const MAX_EXAMINATION: usize = 48 << 20;

/// The way to a guest's memory.
pub trait Memory: Send + Sync {
    /// Looks once. `monitor` says whether QEMU may be asked.
    fn look<'a>(&'a self, cx: &'a Context, monitor: bool) -> Step<'a, Result<Seen, String>>;
}

/// What a look gave.
#[derive(Debug)]
pub struct Seen {
    /// What it told.
    pub examination: Box<Examination>,
    /// The minicore, where the policy allows to keep memory.
    pub minicore: Option<Vec<u8>>,
    /// What was missing on the way.
    pub notes: Vec<String>,
}

/// With the monitor.
pub(super) struct KernelMemory;
/// Without.
pub(super) struct KernelMemoryAlone;

impl Capture for KernelMemory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn rung(&self) -> Rung {
        Rung::L1
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(8)
    }

    fn cap(&self) -> usize {
        MAX_EXAMINATION
    }

    fn needed(&self, cx: &Context, _: &Examined) -> Result<(), String> {
        reachable(cx)
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx, true))
    }
}

impl Capture for KernelMemoryAlone {
    fn name(&self) -> &'static str {
        "memory-alone"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(8)
    }

    fn cap(&self) -> usize {
        MAX_EXAMINATION
    }

    fn turn(&self) -> Turn {
        Turn::Fallback
    }

    fn needed(&self, cx: &Context, so_far: &Examined) -> Result<(), String> {
        reachable(cx)?;
        match so_far.kernel.look {
            Some(_) => Err("memory was read with the monitor's help already".to_owned()),
            None => Ok(()),
        }
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx, false))
    }
}

fn reachable(cx: &Context) -> Result<(), String> {
    match cx.memory {
        Some(_) => Ok(()),
        None => Err("no process of this guest is known whose memory could be read".to_owned()),
    }
}

async fn take(cx: &Context, monitor: bool) -> Outcome {
    let Some(memory) = &cx.memory else {
        return Err(Miss::Skipped("its memory cannot be reached".to_owned()));
    };
    let began = Instant::now();
    let Seen { examination, minicore, notes } = memory.look(cx, monitor).await.map_err(Miss::Failed)?;
    // Of two looks the one that gave something counts; nobody else fills it.
    cx.memory_read.get_or_init(|| (began, Instant::now()));
    let mut taken = Taken { missing: notes, ..Taken::default() };
    taken.missing.extend(examination.problems.iter().cloned());
    match serde_json::to_vec(&examination) {
        Ok(bytes) if bytes.len() <= MAX_EXAMINATION => taken.raw.push(Raw {
            kind: "examination",
            media_type: "application/json",
            sensitivity: Sensitivity::Text,
            bytes,
            truncated: false,
        }),
        Ok(bytes) => {
            taken.missing.push(format!("all of it takes {} bytes, which is not kept as a file", bytes.len()))
        }
        Err(error) => taken.missing.push(format!("it cannot be kept as a file: {error}")),
    }
    if let Some(log) = &examination.log {
        let text = log.to_text(LogStyle::default());
        taken.raw.push(Raw { kind: "kernel-log", ..Raw::text(text, Sensitivity::Text) });
    }
    if let Some(bytes) = minicore {
        taken.raw.push(Raw {
            kind: "minicore",
            media_type: "application/octet-stream",
            sensitivity: Sensitivity::Memory,
            bytes,
            truncated: false,
        });
    }
    taken.parts.push(Part::Kernel(Box::new(facts(*examination))));
    Ok(taken)
}

/// An examination in the form that rules and pages read, whoever it comes from.
fn facts(it: Examination) -> KernelSeen {
    let Examination { kernel, cpus, mut tasks, waits, machine, mut problems, cost, .. } = it;
    let blocked = tasks.iter().filter(|it| it.state == Some(TaskState::D)).cloned().collect();
    if tasks.len() > MAX_TASKS {
        // Those that stand still or are waited for tell most.
        let named: std::collections::BTreeSet<u32> =
            waits.edges.iter().flat_map(|it| it.owners.iter().copied().chain([it.waiter])).collect();
        let rank = |it: &Task| match it.state {
            _ if it.pid.is_some_and(|pid| named.contains(&pid)) => 0,
            Some(TaskState::D) => 1,
            Some(TaskState::R) => 2,
            _ => 3,
        };
        let all = tasks.len();
        tasks.sort_by_key(rank);
        tasks.truncate(MAX_TASKS);
        problems
            .push(format!("of {all} tasks {MAX_TASKS} are shown; all are in the artifact \"examination\""));
    }
    let told = !tasks.is_empty();
    KernelSeen {
        blocked: told.then_some(blocked),
        tasks: told.then_some(tasks),
        cpus: Some(cpus).filter(|it| !it.is_empty()),
        memory: machine.memory.as_ref().map(|it| it.summary()),
        look: Some(Look { kernel, waits, machine, problems, cost }),
        ..KernelSeen::default()
    }
}
