//! Guest-physical memory through a gdb stub in physical mode (rung L2: the guest is paused while attached).
//!
//! QEMU reads through its own mapping, so what is read becomes resident, and it answers with zeros where
//! there is nothing and reads devices where there are some: only addresses that the map shows as RAM are
//! asked for. A scan would take seconds and make all of the guest resident, so there is nothing to scan.

use std::sync::Mutex;

use tokio::runtime::Handle;
use vmward_kernel_lens::source::merged;
use vmward_kernel_lens::{PhysRange, PhysicalMemory, ReadError};

use super::Row;
use crate::transport::rsp::{Gdb, RspError};

/// The memory of a guest that is paused by an attached stub.
///
/// Reads wait for the stub: call them from a thread that may block, never from one that runs the runtime.
pub struct StubMemory {
    gdb: Mutex<Gdb>,
    runtime: Handle,
    ranges: Vec<PhysRange>,
}

impl StubMemory {
    /// Takes a session and switches it to physical mode. Whoever detaches must switch it back, with
    /// [`Self::finish`] or as the guardian does.
    ///
    /// # Errors
    /// [`RspError`].
    pub async fn new<'a>(mut gdb: Gdb, rows: impl IntoIterator<Item = &'a Row>) -> Result<Self, RspError> {
        gdb.physical_mode(true).await?;
        let ranges = merged(rows.into_iter().map(|it| PhysRange { start: it.start, end: it.end }).collect());
        Ok(Self { gdb: Mutex::new(gdb), runtime: Handle::current(), ranges })
    }

    /// Switches physical mode off and gives the session back.
    ///
    /// # Errors
    /// [`RspError`]; the mode may then still be on.
    pub async fn finish(self) -> Result<Gdb, RspError> {
        let mut gdb = self.gdb.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        gdb.physical_mode(false).await?;
        Ok(gdb)
    }
}

impl PhysicalMemory for StubMemory {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        within(&self.ranges, phys, buf.len())?;
        let mut gdb = self.gdb.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.runtime
            .block_on(gdb.read_memory(phys, buf))
            .map_err(|error| ReadError::Source { phys, source: std::io::Error::other(error) })
    }

    fn populated(&self, _from: u64) -> Option<PhysRange> {
        None
    }
}

/// Whether all of a read is RAM; the ranges do not touch, so one of them holds it.
pub(super) fn within(ranges: &[PhysRange], phys: u64, len: usize) -> Result<(), ReadError> {
    let Some(range) = ranges.iter().find(|it| it.contains(phys)) else {
        return Err(ReadError::NotRam { phys });
    };
    if range.end - phys < len as u64 { Err(ReadError::NotRam { phys: range.end }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_leaves_ram_says_where() {
        let ranges = [PhysRange { start: 0x1000, end: 0x2000 }];
        assert!(within(&ranges, 0x1ff0, 16).is_ok());
        assert!(matches!(within(&ranges, 0x1ff0, 17), Err(ReadError::NotRam { phys: 0x2000 })));
        assert!(matches!(within(&ranges, 0xfff, 1), Err(ReadError::NotRam { phys: 0xfff })));
    }
}
