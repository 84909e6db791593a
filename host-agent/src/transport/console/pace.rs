//! How fast a console is read when it floods: fewer, larger reads.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes read before other tasks get their turn.
pub(super) const READ_PER_TURN: usize = 4 << 10;
/// What a console that floods leaves to others after each read. What QEMU writes meanwhile waits in the
/// socket: some 280 writes, which for a serial port are a byte each. So a guest may still say more than
/// 250 KB a second, twenty times a real line, and 4 MB a second where QEMU writes larger pieces.
const BREATH: Duration = Duration::from_millis(1);
/// Reads of a flood: QEMU writes a serial port's bytes one by one, and each wakes its reader.
const FLOOD_READS: u32 = 512;
const WINDOW: Duration = Duration::from_millis(20);
/// A read of so few bytes after a breath says that the flood is over.
const TRICKLE: usize = 32;

/// Tells a flood from a dialogue by how often it wakes its reader.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    reads: u32,
    flood: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, reads: 0, flood: false }
    }

    /// Notes a read of `count` bytes; says how long to wait before the next one.
    pub(super) fn after(&mut self, count: usize, now: Instant) -> Option<Duration> {
        if now.duration_since(self.since) > WINDOW {
            self.since = now;
            self.reads = 0;
        }
        self.reads += 1;
        if self.flood && count <= TRICKLE {
            *self = Self::new(now);
        } else {
            self.flood |= self.reads >= FLOOD_READS;
        }
        (self.flood || count >= READ_PER_TURN).then_some(BREATH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn an_answer_of_a_shell_is_read_without_a_breath() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            for _ in 0..200 {
                now += 5 * US;
                assert_eq!(pace.after(1, now), None);
            }
            now += Duration::from_millis(40);
        }
    }

    #[test]
    fn a_flood_of_single_bytes_is_read_in_breaths_until_it_ends() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let breaths = (0..1000).filter(|_| {
            now += 5 * US;
            pace.after(1, now).is_some()
        });
        assert_eq!(breaths.count(), 1000 / FLOOD_READS as usize, "before the reads are apart");
        let mut pace = Pace::new(now);
        while pace.after(1, now).is_none() {}
        for _ in 0..50 {
            now += BREATH;
            assert_eq!(pace.after(200, now), Some(BREATH));
        }
        now += BREATH;
        assert_eq!(pace.after(3, now), None);
    }

    #[test]
    fn a_large_read_is_followed_by_a_breath_at_once() {
        let now = Instant::now();
        assert_eq!(Pace::new(now).after(READ_PER_TURN, now), Some(BREATH));
    }
}
