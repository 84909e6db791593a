//! Memory for tests: one range from 0, written by the test.

use std::cell::RefCell;

use super::{PhysRange, PhysicalMemory};
use crate::ReadError;

pub(crate) struct TestMemory {
    bytes: RefCell<Vec<u8>>,
    range: [PhysRange; 1],
}

impl TestMemory {
    pub(crate) fn new(len: usize) -> Self {
        Self { bytes: RefCell::new(vec![0; len]), range: [PhysRange { start: 0, end: len as u64 }] }
    }

    pub(crate) fn write(&self, phys: u64, bytes: &[u8]) {
        self.bytes.borrow_mut()[phys as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn write_u64(&self, phys: u64, value: u64) {
        self.write(phys, &value.to_le_bytes());
    }
}

impl PhysicalMemory for TestMemory {
    fn ranges(&self) -> &[PhysRange] {
        &self.range
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self.bytes.borrow();
        let from = usize::try_from(phys).map_err(|_| ReadError::NotRam { phys })?;
        let found = from.checked_add(buf.len()).and_then(|end| bytes.get(from..end));
        buf.copy_from_slice(found.ok_or(ReadError::NotRam { phys })?);
        Ok(())
    }
}
