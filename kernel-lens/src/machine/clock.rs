//! The guest's clocks, from the timekeeper.
//!
//! `tk_core` is a structure without a name up to v6.12 and a `struct tk_data` in later kernels, and since
//! v6.17 the first element of `timekeeper_data` (commit 22c62b9a84b8). Where it has no name its second
//! member is the timekeeper, behind a sequence counter; that the seconds agree shows that it is so.

use vmward_kernel_facts::machine::Clock;

use super::object::Object;
use crate::{Kernel, ReadError};

/// Offsets at which a timekeeper may follow its sequence counter: without and with lock debugging.
const PLACES: [u64; 5] = [8, 16, 64, 56, 128];
const NSEC: i64 = 1_000_000_000;

/// Rates of ticks that kernels are built with (`CONFIG_HZ`).
const RATES: [u64; 4] = [100, 250, 300, 1000];

/// Reads the clocks.
///
/// # Errors
/// [`ReadError::Inconsistent`] if there is no timekeeper whose members agree.
pub fn read(kernel: &Kernel<'_>) -> Result<Clock, ReadError> {
    Ok(find(kernel)?.1)
}

fn find<'k, 'm>(kernel: &'k Kernel<'m>) -> Result<(Object<'k, 'm>, Clock), ReadError> {
    let core = kernel.symbol("tk_core").or_else(|| kernel.symbol("timekeeper_data"));
    let core = core.ok_or(ReadError::Inconsistent { what: "the timekeeper", virt: 0 })?;
    let named = kernel.offset("tk_data", "timekeeper");
    let mut places = named.into_iter().chain(PLACES);
    let found = places.find_map(|it| {
        let keeper = Object::new(kernel, "timekeeper", core.wrapping_add(it));
        Some((keeper, clocks(keeper)?))
    });
    found.ok_or(ReadError::Inconsistent { what: "the timekeeper", virt: core })
}

/// The clocks of a timekeeper; `None` if what lies there is none.
fn clocks(keeper: Object<'_, '_>) -> Option<Clock> {
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
    let jiffies = keeper.kernel.symbol("jiffies_64").and_then(|it| keeper.kernel.space.u64(it).ok());
    Some(Clock {
        monotonic_nsec: monotonic,
        uptime_nsec: monotonic.checked_add_signed(offs_boot)?,
        wall_nsec: i64::try_from(monotonic).ok()?.checked_add(offs_real)?,
        boot_nsec: offs_real,
        source: source.and_then(|it| it.text_behind("name").ok().flatten()),
        jiffies,
        hz: keeper.number("ntp_tick").ok().and_then(rate),
    })
}

/// Ticks of a second, from the nanoseconds of a tick, which have 32 bits behind the point
/// (`NTP_SCALE_SHIFT`). Whoever sets the clock may stretch a tick by a tenth.
fn rate(ntp_tick: u64) -> Option<u32> {
    let exact = (NSEC as u64).checked_div(ntp_tick >> 32)?;
    let known = RATES.into_iter().find(|it| exact.abs_diff(*it) * 10 <= *it);
    u32::try_from(known.unwrap_or(exact)).ok().filter(|it| (1..=100_000).contains(it))
}

/// The kernel's time in ticks, to tell the age of what it stamped with them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticks {
    now: u64,
    hz: u64,
}

impl Ticks {
    pub(super) fn read(kernel: &Kernel<'_>) -> Option<Self> {
        let clock = read(kernel).ok()?;
        Some(Self { now: clock.jiffies?, hz: u64::from(clock.hz?) })
    }

    /// Milliseconds since a stamp; 0 for one that is to come.
    pub(super) fn since_ms(self, stamp: u64) -> u64 {
        self.until_ms(stamp).min(0).unsigned_abs()
    }

    /// Milliseconds until a stamp, negative if it is past. Ticks wrap.
    pub(super) fn until_ms(self, stamp: u64) -> i64 {
        let ticks = stamp.wrapping_sub(self.now).cast_signed();
        ticks.saturating_mul(1000) / self.hz.max(1).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_from_the_length_of_a_tick() {
        // Lengths as kernels keep them: exact, and stretched by NTP.
        assert_eq!(rate(4_000_000 << 32), Some(250));
        assert_eq!(rate(4_001_000 << 32), Some(250));
        assert_eq!(rate(3_333_333 << 32), Some(300));
        assert_eq!(rate(10_500_000 << 32), Some(100));
        assert_eq!(rate(15_625_000 << 32), Some(64));
        assert_eq!(rate(0), None);
    }

    #[test]
    fn stamps_are_past_or_to_come_also_where_ticks_wrap() {
        let ticks = Ticks { now: 250, hz: 250 };
        assert_eq!((ticks.since_ms(0), ticks.until_ms(0)), (1000, -1000));
        assert_eq!((ticks.since_ms(500), ticks.until_ms(500)), (0, 1000));
        assert_eq!(ticks.since_ms(u64::MAX - 249), 2000);
        assert!(ticks.until_ms(1 << 62) > 0);
    }
}
