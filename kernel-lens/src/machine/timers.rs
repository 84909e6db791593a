//! Timers that are set, and whether they are served: the wheels (`timer_bases`) and the high-resolution
//! timers (`hrtimer_bases`) of each CPU.
//!
//! A CPU has two wheels, since v6.9 three (commit 83a665dc99a7); a bucket of a wheel is a
//! list, and a map has a bit for each that is not empty (commit 500462a9de65, v4.8).

use vmward_kernel_facts::machine::{CpuTimers, PendingTimer};

use super::clock::{self, Ticks};
use super::object::{Object, function, list};
use crate::{Kernel, ReadError};

/// Wheels of a CPU at most.
const MAX_WHEELS: u64 = 3;
/// Buckets of a wheel at most: 64 on each of 9 levels.
const MAX_BUCKETS: u64 = 9 * 64;
/// Timers of a CPU that are looked at, and that are named.
const MAX_TIMERS: usize = 1 << 16;
const MAX_NAMED: usize = 8;
/// A timer is late beyond what a busy CPU may cause.
const LATE_MS: i64 = -1000;

/// Reads them.
///
/// # Errors
/// [`ReadError::Inconsistent`] if the kernel's ticks are unknown; what a read of a wheel said.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<CpuTimers>, ReadError> {
    let ticks = Ticks::read(kernel).ok_or(ReadError::Inconsistent { what: "the ticks", virt: 0 })?;
    let now = clock::read(kernel)?.monotonic_nsec;
    kernel.cpus().iter().map(|cpu| read_cpu(kernel, *cpu, ticks, now)).collect()
}

fn read_cpu(kernel: &Kernel<'_>, cpu: u32, ticks: Ticks, now: u64) -> Result<CpuTimers, ReadError> {
    let mut timers = CpuTimers { cpu, ..Default::default() };
    let first = Object::per_cpu(kernel, "timer_base", "timer_bases", cpu)?;
    let wrong = ReadError::Inconsistent { what: "timer_base", virt: first.at };
    let size = kernel.types.size("timer_base").filter(|it| *it > 0).ok_or(wrong)?;
    let mut set = Vec::new();
    for wheel in 0..wheels(kernel, size) {
        let base = Object::new(kernel, "timer_base", first.at.wrapping_add(wheel * size));
        if let Some(timer) = base.follow("running_timer", "timer_list")? {
            timers.running = timer.number("function").ok().map(|it| function(kernel, it));
        }
        collect(base, &mut set)?;
    }
    timers.pending = set.len() as u64;
    let mut due = Vec::with_capacity(set.len());
    for link in set {
        let timer = Object::around(kernel, "timer_list", "entry", link)?;
        due.push((ticks.until_ms(timer.number("expires")?), timer));
    }
    timers.overdue = due.iter().filter(|(due_ms, _)| *due_ms < LATE_MS).count() as u64;
    due.sort_by_key(|(due_ms, _)| *due_ms);
    for (due_ms, timer) in due.into_iter().take(MAX_NAMED) {
        timers.next.push(PendingTimer { function: called(timer)?, due_ms });
    }
    high_resolution(kernel, cpu, now, &mut timers)?;
    Ok(timers)
}

/// What a timer calls; of delayed work the work, since the timer only queues it.
fn called(timer: Object<'_, '_>) -> Result<String, ReadError> {
    let (kernel, at) = (timer.kernel, timer.number("function")?);
    if kernel.symbol("delayed_work_timer_fn") == Some(at) {
        let work = Object::around(kernel, "delayed_work", "timer", timer.at)?;
        return Ok(function(kernel, work.number("work.func")?));
    }
    Ok(function(kernel, at))
}

/// How many wheels a CPU has: as many as fit before the next variable.
fn wheels(kernel: &Kernel<'_>, size: u64) -> u64 {
    let variable = kernel.symbol("timer_bases").and_then(|it| kernel.symbols.at(it));
    variable.map_or(1, |it| it.size / size).clamp(1, MAX_WHEELS)
}

/// Timers of a wheel, of the buckets that are not empty.
fn collect(base: Object<'_, '_>, set: &mut Vec<u64>) -> Result<(), ReadError> {
    let (map, buckets) = (base.address("pending_map")?, base.address("vectors")?);
    let count = base.kernel.types.member("timer_base", "vectors").map_or(0, |it| it.size / 8);
    for word in 0..count.min(MAX_BUCKETS).div_ceil(64) {
        let bits = base.kernel.space.u64(map.wrapping_add(word * 8))?;
        for bit in (0..64).filter(|bit| bits & (1 << bit) != 0) {
            if set.len() < MAX_TIMERS {
                set.extend(list(base.kernel, buckets.wrapping_add((word * 64 + bit) * 8))?);
            }
        }
    }
    Ok(())
}

fn high_resolution(kernel: &Kernel<'_>, cpu: u32, now: u64, timers: &mut CpuTimers) -> Result<(), ReadError> {
    let base = Object::per_cpu(kernel, "hrtimer_cpu_base", "hrtimer_bases", cpu)?;
    timers.hangs = base.small("nr_hangs").unwrap_or(0);
    let Some(timer) = base.follow("next_timer", "hrtimer")? else { return Ok(()) };
    let due = base.number("expires_next")?.wrapping_sub(now).cast_signed();
    timers.next_high_resolution =
        Some(PendingTimer { function: function(kernel, timer.number("function")?), due_ms: due / 1_000_000 });
    Ok(())
}
