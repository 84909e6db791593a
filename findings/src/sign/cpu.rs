//! What registers and host threads say of each vCPU.

use std::collections::BTreeSet;

use vmward_model::observed::{HostThread, ThreadRole, VcpuRegisters};

use crate::Case;

/// Samples below which nothing is said of what holds "all the time".
const MIN_SAMPLES: usize = 3;
/// The longest loop that counts as staying in place, in bytes of code.
const TIGHT_LOOP: u64 = 64;

/// One vCPU over the time of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vcpu {
    pub index: u32,
    /// Share of a host CPU in percent; `None` where threads could not be read.
    pub percent: Option<u64>,
    /// It works (`true`) or rests (`false`); `None` where neither is clear.
    pub busy: Option<bool>,
    /// Interrupts were off, and it did not sleep, in every one of enough samples.
    pub interrupts_off: Option<bool>,
    /// Every sample was within a few bytes of code: at this address.
    pub stays_at: Option<u64>,
    /// It was in user mode in at least one sample.
    pub in_user: Option<bool>,
}

/// All vCPUs that anything is known of.
pub(crate) fn vcpus(case: &Case) -> Vec<Vcpu> {
    let mut indices = BTreeSet::new();
    indices.extend(threads(case).filter_map(vcpu_of));
    let samples = case.observed.vcpus.as_ref().map_or(&[][..], |it| &it.samples);
    indices.extend(samples.iter().flat_map(|it| it.cpus.iter().map(|cpu| cpu.index)));
    indices.into_iter().map(|it| vcpu(case, it)).collect()
}

fn threads(case: &Case) -> impl Iterator<Item = &HostThread> {
    case.observed.host.iter().flat_map(|it| &it.threads)
}

fn vcpu_of(thread: &HostThread) -> Option<u32> {
    match thread.role {
        ThreadRole::Vcpu(index) => Some(index),
        _ => None,
    }
}

fn vcpu(case: &Case, index: u32) -> Vcpu {
    let window_ms = case.observed.host.as_ref().map_or(0, |it| it.window_ms);
    let thread = threads(case).find(|it| vcpu_of(it) == Some(index));
    let share = |ms: u64| ms.saturating_mul(100).checked_div(window_ms);
    let percent = thread.and_then(|it| share(it.cpu_ms));
    // On a crowded host a vCPU that wants a CPU all the time gets less than one.
    let wanted = thread.and_then(|it| share(it.cpu_ms.saturating_add(it.wait_ms)));
    let seen: Vec<&VcpuRegisters> = case
        .observed
        .vcpus
        .iter()
        .flat_map(|it| &it.samples)
        .filter_map(|it| it.cpus.iter().find(|cpu| cpu.index == index))
        .collect();
    let slept = seen.iter().any(|it| it.halted == Some(true));
    let never_slept = seen.len() >= MIN_SAMPLES && seen.iter().all(|it| it.halted == Some(false));
    let busy = match wanted {
        Some(70..) => Some(true),
        // Where the host does not count waiting, its state tells.
        Some(25..) if never_slept && thread.is_some_and(|it| it.state == 'R') => Some(true),
        Some(..20) => Some(false),
        Some(_) => None,
        None if slept => Some(false),
        None => None,
    };
    Vcpu {
        index,
        percent,
        busy,
        interrupts_off: interrupts_off(&seen, slept, never_slept || busy == Some(true)),
        stays_at: stays_at(&seen),
        in_user: seen.iter().filter_map(|it| it.user_mode).reduce(|a, b| a || b),
    }
}

/// An arm64 CPU waits for interrupts with interrupts masked, so that "off" says something only of a
/// CPU that is known not to wait.
fn interrupts_off(seen: &[&VcpuRegisters], slept: bool, awake: bool) -> Option<bool> {
    if slept || seen.iter().any(|it| it.interrupts_off == Some(false)) {
        return Some(false);
    }
    let enough = seen.len() >= MIN_SAMPLES && seen.iter().all(|it| it.interrupts_off == Some(true));
    if enough && awake { Some(true) } else { None }
}

fn stays_at(seen: &[&VcpuRegisters]) -> Option<u64> {
    let ips: Vec<u64> = seen.iter().map(|it| it.ip).collect::<Option<_>>()?;
    let (low, high) = (*ips.iter().min()?, *ips.iter().max()?);
    (ips.len() >= MIN_SAMPLES && high - low <= TIGHT_LOOP).then_some(low)
}

/// Whether every vCPU works; `None` where one is not known or none is.
pub(crate) fn all_busy(case: &Case) -> Option<bool> {
    let vcpus = vcpus(case);
    if vcpus.iter().any(|it| it.busy == Some(false)) {
        return Some(false);
    }
    (!vcpus.is_empty() && vcpus.iter().all(|it| it.busy == Some(true))).then_some(true)
}

/// Whether every vCPU rests; `None` where one is not known or none is.
pub(crate) fn all_idle(case: &Case) -> Option<bool> {
    let vcpus = vcpus(case);
    if vcpus.iter().any(|it| it.busy == Some(true)) {
        return Some(false);
    }
    (!vcpus.is_empty() && vcpus.iter().all(|it| it.busy == Some(false))).then_some(true)
}

/// `vCPU 0 100 %, vCPU 1 98 %`.
pub(crate) fn load(vcpus: &[Vcpu]) -> String {
    let one = |it: &Vcpu| match it.percent {
        Some(percent) => format!("vCPU {} {percent} %", it.index),
        None => format!("vCPU {} (host share unknown)", it.index),
    };
    vcpus.iter().map(one).collect::<Vec<_>>().join(", ")
}
