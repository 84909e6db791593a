//! This host's clocks, as the one [`Stamp`] that is written down.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use vmward_model::Stamp;

/// Now, by the wall clock and by `CLOCK_BOOTTIME` (clock_gettime(2)), which goes on while the host
/// sleeps.
pub fn now() -> Stamp {
    // Linux has had CLOCK_BOOTTIME since 2.6.39; a zero is only ever compared, never divided by.
    let mono_ms = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |it| {
        let seconds = u64::try_from(it.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(it.tv_nsec()).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
    });
    Stamp { utc: Timestamp::now(), mono_ms }
}

/// The identity of this boot of the host (`/proc/sys/kernel/random/boot_id`), empty where it
/// cannot be read: [`Stamp::mono_ms`] is comparable only within one.
pub fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) => text.trim().to_owned(),
        Err(error) => {
            tracing::warn!("cannot read the host's boot id: {error}; ages across boots may be wrong");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let first = now();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(now().ms_since(&first) >= 2);
    }
}
