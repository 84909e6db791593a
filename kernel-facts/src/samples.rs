//! A picture over time: what the CPUs did at many moments, equal stacks folded.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::CpuStack;

/// Different stacks that are kept; what comes after is counted only.
const MAX_STACKS: usize = 4096;

/// A stack and how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SampledStack {
    /// The guest's number of the CPU.
    pub cpu: u32,
    /// Thread id of the task; 0 is the idle task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the task. Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// It ran user code.
    pub user_mode: bool,
    /// Functions, outermost first.
    pub functions: Vec<String>,
    /// How often.
    pub count: u32,
}

/// One CPU over the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SampledCpu {
    /// The guest's number of the CPU.
    pub cpu: u32,
    /// How often it was seen.
    pub seen: u32,
    /// How often it idled.
    pub idle: u32,
    /// How often it ran user code.
    pub user_mode: u32,
    /// Different places (symbol and offset) at which it was seen: 1 or 2 of many look like a spin.
    pub places: u32,
}

/// Many moments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// Moments that were looked at.
    pub taken: u32,
    /// Moments that could not be.
    pub missed: u32,
    /// Milliseconds from the first to the last.
    pub took_ms: u64,
    /// The CPUs.
    pub cpus: Vec<SampledCpu>,
    /// Stacks, the most frequent first.
    pub stacks: Vec<SampledStack>,
    /// Sightings whose stack had no place among so many different ones.
    #[serde(default)]
    pub unfolded: u32,
}

/// Adds up moments.
#[derive(Debug, Default)]
pub struct Sampler {
    samples: Samples,
    places: BTreeSet<(u32, Option<u64>)>,
}

impl Sampler {
    /// Adds a moment.
    pub fn add(&mut self, cpus: &[CpuStack]) {
        self.samples.taken += 1;
        for it in cpus {
            self.cpu(it);
            let functions: Vec<String> =
                it.stack.iter().rev().filter(|it| it.sure).map(|it| it.name().to_owned()).collect();
            let room = self.samples.stacks.len() < MAX_STACKS;
            let same = self.samples.stacks.iter_mut().find(|old| {
                (old.cpu, old.pid, old.user_mode) == (it.cpu, it.pid, it.user_mode)
                    && old.functions == functions
            });
            match same {
                Some(old) => old.count += 1,
                None if room => self.samples.stacks.push(SampledStack {
                    cpu: it.cpu,
                    pid: it.pid,
                    comm: it.comm.clone(),
                    user_mode: it.user_mode,
                    functions,
                    count: 1,
                }),
                None => self.samples.unfolded += 1,
            }
        }
    }

    /// Counts a moment that could not be looked at.
    pub fn miss(&mut self) {
        self.samples.missed += 1;
    }

    /// The sum. `took_ms` is the time from the first moment to the last.
    pub fn done(self, took_ms: u64) -> Samples {
        let mut samples = Samples { took_ms, ..self.samples };
        samples.stacks.sort_by_key(|it| (it.cpu, std::cmp::Reverse(it.count)));
        samples.cpus.sort_by_key(|it| it.cpu);
        samples
    }

    fn cpu(&mut self, it: &CpuStack) {
        let place = it.pc.as_ref().and_then(|it| it.address);
        let new = self.places.len() < MAX_STACKS && self.places.insert((it.cpu, place));
        let cpus = &mut self.samples.cpus;
        let at = match cpus.iter().position(|old| old.cpu == it.cpu) {
            Some(at) => at,
            None => {
                cpus.push(SampledCpu { cpu: it.cpu, seen: 0, idle: 0, user_mode: 0, places: 0 });
                cpus.len() - 1
            }
        };
        if let Some(cpu) = cpus.get_mut(at) {
            cpu.seen += 1;
            cpu.idle += u32::from(it.idle);
            cpu.user_mode += u32::from(it.user_mode);
            cpu.places += u32::from(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frame;

    fn seen(cpu: u32, functions: &[&str]) -> CpuStack {
        let frame = |it: &&str| Frame { address: Some(it.bytes().map(u64::from).sum()), ..Frame::named(*it) };
        let stack: Vec<Frame> = functions.iter().map(frame).collect();
        CpuStack { cpu, pid: Some(7), pc: stack.first().cloned(), stack, ..CpuStack::default() }
    }

    #[test]
    fn equal_stacks_are_one_and_a_cpu_that_spins_is_seen_at_few_places() {
        let mut sampler = Sampler::default();
        for n in 0..10 {
            let moving = format!("step_{n}");
            sampler.add(&[seen(0, &["spin", "thread"]), seen(1, &[&moving, "main"])]);
        }
        sampler.miss();
        let done = sampler.done(1000);
        assert_eq!((done.taken, done.missed), (10, 1));
        assert_eq!(done.stacks[0].functions, ["thread", "spin"]);
        assert_eq!(done.stacks[0].count, 10);
        assert_eq!(done.cpus.iter().map(|it| it.places).collect::<Vec<_>>(), [1, 10]);
    }
}
