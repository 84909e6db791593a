//! A small address space for tests: 1 MiB from address 0, mapped one to one.

use crate::arch::{Aarch64Paging, Granule, Paging, X86Paging};
use crate::memory::test_memory::TestMemory;
use crate::{AddressSpace, Recorder};

/// Where the page tables lie; tests use what is below.
const TABLES: u64 = 0xf0000;

pub(super) struct TestKernel {
    memory: TestMemory,
}

impl TestKernel {
    pub(super) fn new() -> Self {
        let memory = TestMemory::new(0x10_0000);
        for level in 0..3 {
            memory.write_u64(TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) | 3);
        }
        for page in 0..256 {
            memory.write_u64(TABLES + 0x3000 + page * 8, (page << 12) | 3);
        }
        Self { memory }
    }

    /// Writes words.
    pub(super) fn write(&self, at: u64, words: &[u64]) {
        for (to, word) in (at..).step_by(8).zip(words) {
            self.memory.write_u64(to, *word);
        }
    }

    pub(super) fn write_bytes(&self, at: u64, bytes: &[u8]) {
        self.memory.write(at, bytes);
    }

    /// The same tables serve arm64: 4 levels of 9 bits, and the low bits mean alike.
    pub(super) fn with_arm64<T>(&self, look: impl FnOnce(&AddressSpace<'_>) -> T) -> T {
        let recorder = Recorder::new(&self.memory);
        let paging = Aarch64Paging { root: TABLES, granule: Granule::K4, virt_bits: 48, phys_52: false };
        look(&AddressSpace::new(&recorder, Paging::Aarch64(paging)))
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&AddressSpace<'_>) -> T) -> T {
        let recorder = Recorder::new(&self.memory);
        let paging = Paging::X86_64(X86Paging { root: TABLES, five_levels: false });
        look(&AddressSpace::new(&recorder, paging))
    }
}
