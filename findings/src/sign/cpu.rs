//! What registers and host threads say of each vCPU.

use std::collections::{BTreeMap, BTreeSet};

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

/// All vCPUs that anything is known of. One pass over the case, which may be a foreign one of a hundred
/// thousand vCPUs.
pub(crate) fn vcpus(case: &Case) -> Vec<Vcpu> {
    let mut known: BTreeMap<u32, (Option<&HostThread>, Vec<&VcpuRegisters>)> = BTreeMap::new();
    for it in case.observed.host.iter().flat_map(|it| &it.threads) {
        if let ThreadRole::Vcpu(index) = it.role {
            known.entry(index).or_default().0.get_or_insert(it);
        }
    }
    for sample in case.observed.vcpus.iter().flat_map(|it| &it.samples) {
        let mut told = BTreeSet::new();
        for it in sample.cpus.iter().filter(|it| told.insert(it.index)) {
            known.entry(it.index).or_default().1.push(it);
        }
    }
    let window_ms = case.observed.host.as_ref().map_or(0, |it| it.window_ms);
    known.into_iter().map(|(index, (thread, seen))| vcpu(index, thread, &seen, window_ms)).collect()
}

fn vcpu(index: u32, thread: Option<&HostThread>, seen: &[&VcpuRegisters], window_ms: u64) -> Vcpu {
    let share = |ms: u64| ms.saturating_mul(100).checked_div(window_ms);
    let percent = thread.and_then(|it| share(it.cpu_ms));
    // On a crowded host a vCPU that wants a CPU all the time gets less than one.
    let wanted = thread.and_then(|it| share(it.cpu_ms.saturating_add(it.wait_ms)));
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
        interrupts_off: interrupts_off(seen, slept, never_slept || busy == Some(true)),
        stays_at: stays_at(seen),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_case_of_a_hundred_thousand_vcpus_is_read_in_one_pass() {
        let cpu = |index: u32| serde_json::json!({ "index": index, "ip": 4096, "all": {} });
        let cpus: Vec<_> = (0..100_000).map(cpu).collect();
        let at = serde_json::json!({ "utc": "2026-11-21T10:00:00Z", "mono_ms": 1 });
        let case: Case = serde_json::from_value(serde_json::json!({
            "format": 1,
            "guest": "00000000-0000-0000-0000-000000000001",
            "incarnation": { "pid": 1, "start_ticks": 2, "boot": 0 },
            "guest_state": "running",
            "opening": { "class": "suspect", "confidence": "likely", "scenario": "s", "at": at, "evidence": [] },
            "observed": { "vcpus": { "samples": [{ "at_ms": 0, "cpus": cpus }] } },
        }))
        .unwrap();
        let began = std::time::Instant::now();
        assert_eq!(vcpus(&case).len(), 100_000);
        // A search for each among all takes minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    }
}
