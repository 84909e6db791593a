//! Guest-physical memory through the monitor's `xp`: the last resort, a kilobyte a question.
//!
//! QEMU formats the bytes under its big lock and reads through its own mapping, so what is read becomes
//! resident. Only addresses that the map shows as RAM are asked for: a device may act on a read. There is
//! nothing to scan, as in [`super::StubMemory`].

use std::time::Duration;

use tokio::runtime::Handle;
use vmward_kernel_lens::source::merged;
use vmward_kernel_lens::{PhysRange, PhysicalMemory, ReadError};

use super::Row;
use super::stub::within;
use crate::transport::qmp::{HmpRead, Monitor};

/// The memory of a guest as its monitor tells it.
///
/// Reads wait for the monitor: call them from a thread that may block, never from one that runs the runtime.
pub struct MonitorMemory {
    monitor: Monitor,
    within: Duration,
    runtime: Handle,
    ranges: Vec<PhysRange>,
}

impl MonitorMemory {
    /// Reads through `monitor`, waiting at most `within` for each answer. To be called in a runtime.
    pub fn new<'a>(monitor: Monitor, within: Duration, rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let ranges = merged(rows.into_iter().map(|it| PhysRange { start: it.start, end: it.end }).collect());
        Self { monitor, within, runtime: Handle::current(), ranges }
    }
}

impl PhysicalMemory for MonitorMemory {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        within(&self.ranges, phys, buf.len())?;
        let mut address = phys;
        for part in buf.chunks_mut(usize::from(HmpRead::MAX_BYTES)) {
            let read = HmpRead::PhysicalBytes { address, count: part.len() as u16 };
            let failed = |source| ReadError::Source { phys: address, source };
            let answer = self.runtime.block_on(self.monitor.hmp(read, self.within));
            let text = answer.map_err(|error| failed(std::io::Error::other(error)))?;
            if !bytes(&text, address, part) {
                let odd = std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer to xp is no dump");
                return Err(failed(odd));
            }
            address += part.len() as u64;
        }
        Ok(())
    }

    fn populated(&self, _from: u64) -> Option<PhysRange> {
        None
    }
}

/// Reads lines of `ADDRESS: 0x12 0x34 ...` (QEMU monitor/hmp-target.c, `memory_dump`) into `out`; false
/// unless they hold all of it in order.
fn bytes(text: &str, address: u64, out: &mut [u8]) -> bool {
    let mut done = 0;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some((at, values)) = line.split_once(": ") else { return false };
        if u64::from_str_radix(at, 16).ok() != address.checked_add(done as u64) {
            return false;
        }
        for value in values.split_ascii_whitespace() {
            let digits = value.strip_prefix("0x").filter(|it| it.len() == 2);
            let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
            let (Some(byte), Some(place)) = (byte, out.get_mut(done)) else { return false };
            *place = byte;
            done += 1;
        }
    }
    done == out.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dump_is_read_if_it_is_all_there() {
        let text =
            "0000000000100000: 0x12 0x34 0x56 0x78 0x9a 0xbc 0xde 0xf0\r\n0000000000100008: 0x01 0x02\r\n";
        let mut out = [0; 10];
        assert!(bytes(text, 0x10_0000, &mut out));
        assert_eq!(out, [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2]);
        assert!(!bytes(text, 0x10_0000, &mut [0; 11]));
        assert!(!bytes(text, 0x10_0000, &mut [0; 9]));
        assert!(!bytes(text, 0x10_0001, &mut [0; 10]));
        assert!(!bytes("0000000000100000: Cannot access memory", 0x10_0000, &mut [0; 2]));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(text in "([0-9a-f]{16}: )?(0x[0-9a-f]{1,3} ?){0,10}.{0,5}", at: u64) {
            let _ = bytes(&text, at, &mut [0; 8]);
        }
    }
}
