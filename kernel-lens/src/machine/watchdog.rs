//! What the kernel's own lockup detectors have seen, before they say so: marks of `kernel/watchdog.c`.

use vmward_kernel_facts::machine::{CpuWatchdog, Watchdog};

use super::object::symbol;
use super::run_queue;
use crate::{Kernel, ReadError};

/// The detector's second is 2^30 nanoseconds of the scheduler's clock (`get_timestamp()`).
const SECOND_BITS: u32 = 30;

/// Reads it.
///
/// # Errors
/// [`ReadError::Inconsistent`] if the kernel has no soft-lockup detector; what a read of its marks said.
pub fn read(kernel: &Kernel<'_>) -> Result<Watchdog, ReadError> {
    let threshold_sec = kernel.space.u32(symbol(kernel, "watchdog_thresh")?)?;
    let enabled = kernel.symbol("watchdog_enabled").and_then(|it| kernel.space.u64(it).ok());
    let enabled = enabled != Some(0) && threshold_sec > 0;
    let now = run_queue::now(kernel) >> SECOND_BITS;
    let one = |cpu: &u32| {
        let place = |name| kernel.per_cpu(name, *cpu);
        let missing = |name| ReadError::Inconsistent { what: name, virt: 0 };
        let touched = place("watchdog_touch_ts").ok_or(missing("watchdog_touch_ts"))?;
        let ticks = place("hrtimer_interrupts").ok_or(missing("hrtimer_interrupts"))?;
        // 0 and all ones ask the detector for a new mark (SOFTLOCKUP_DELAY_REPORT).
        let touched = Some(kernel.space.u64(touched)?).filter(|it| *it != 0 && *it != u64::MAX);
        let untouched_sec = touched.map(|it| now.saturating_sub(it));
        let limit = u64::from(threshold_sec).saturating_mul(2);
        Ok(CpuWatchdog {
            cpu: *cpu,
            untouched_sec,
            soft_lockup: enabled && untouched_sec.is_some_and(|it| it > limit),
            timer_ticks: kernel.space.u32(ticks)?,
            timer_ticks_saved: place("hrtimer_interrupts_saved").and_then(|it| kernel.space.u32(it).ok()),
        })
    };
    Ok(Watchdog { enabled, threshold_sec, cpus: kernel.cpus().iter().map(one).collect::<Result<_, _>>()? })
}
