//! The guest's clocks, from the timekeeper.
//!
//! `tk_core` is a structure without a name until v6.12, `struct tk_data` since (commit 10f7c178a9d4), and
//! since v6.17 the first element of `timekeeper_data` (commit 22c62b9a84b8). Where it has no name its
//! second member is the timekeeper, behind a sequence counter; that the seconds agree shows that it is so.

use vmward_kernel_facts::machine::Clock;

use super::object::Object;
use crate::{Kernel, ReadError};

/// Offsets at which a timekeeper may follow its sequence counter: without and with lock debugging.
const PLACES: [u64; 5] = [8, 16, 64, 56, 128];
const NSEC: i64 = 1_000_000_000;

/// Reads the clocks.
///
/// # Errors
/// [`ReadError::Inconsistent`] if there is no timekeeper whose members agree.
pub fn read(kernel: &Kernel<'_>) -> Result<Clock, ReadError> {
    let core = kernel.symbol("tk_core").or_else(|| kernel.symbol("timekeeper_data"));
    let core = core.ok_or(ReadError::Inconsistent { what: "the timekeeper", virt: 0 })?;
    let named = kernel.offset("tk_data", "timekeeper");
    let found = named.into_iter().chain(PLACES).find_map(|it| at(kernel, core.wrapping_add(it)));
    let mut clock = found.ok_or(ReadError::Inconsistent { what: "the timekeeper", virt: core })?;
    clock.jiffies = kernel.symbol("jiffies_64").and_then(|it| kernel.space.u64(it).ok());
    Ok(clock)
}

/// The clocks of a timekeeper; `None` if what lies there is none.
fn at(kernel: &Kernel<'_>, at: u64) -> Option<Clock> {
    let keeper = Object::new(kernel, "timekeeper", at);
    let wall_sec = keeper.signed("xtime_sec").ok()?;
    let ktime_sec = keeper.signed("ktime_sec").ok()?;
    let offs_real = keeper.signed("offs_real").ok()?;
    let offs_boot = keeper.signed("offs_boot").ok()?;
    let base = keeper.signed("tkr_mono.base").ok()?;
    let shift = keeper.small("tkr_mono.shift").ok().filter(|it| *it < 64)?;
    let nsec = keeper.number("tkr_mono.xtime_nsec").ok()? >> shift;
    // A wall clock before 1970 is one that has not been set.
    if wall_sec <= 0 || offs_real == 0 || nsec > NSEC as u64 * 2 {
        return None;
    }
    let apart = wall_sec.checked_sub(ktime_sec)?.checked_sub(offs_real.div_euclid(NSEC))?;
    if !(-1..=1).contains(&apart) {
        return None;
    }
    let monotonic = u64::try_from(base).ok()?.checked_add(nsec)?;
    let source = keeper.follow("tkr_mono.clock", "clocksource").ok().flatten();
    Some(Clock {
        monotonic_nsec: monotonic,
        uptime_nsec: monotonic.checked_add_signed(offs_boot)?,
        wall_nsec: i64::try_from(monotonic).ok()?.checked_add(offs_real)?,
        boot_nsec: offs_real,
        source: source.and_then(|it| it.text_behind("name").ok().flatten()),
        jiffies: None,
    })
}
