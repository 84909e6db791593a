//! Anonymous memory of a QEMU through `/proc/PID/mem`, where no file holds it.
//!
//! A read of a page that is not there would make the kernel put one there, so each is looked up in
//! `/proc/PID/pagemap` first (Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped) and
//! is zeros when it is neither. That is right for private memory only: a page of a shared mapping can be in
//! its file and not in this process's tables ([`super::shared`] reads those).
//!
//! A guest in post-copy migration may block a read: whoever reads must be somebody who can be killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use vmward_kernel_lens::source::merged;
use vmward_kernel_lens::{PAGE_SIZE, PhysRange, PhysicalMemory, ReadError};

/// Pages looked up at once.
const AT_ONCE: u64 = 512;
/// Pages looked up at once by a scan.
const SCAN_AT_ONCE: u64 = 16 << 10;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// A run of guest-physical memory and where QEMU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateRun {
    /// First guest-physical address.
    pub phys: u64,
    /// Length in bytes.
    pub len: u64,
    /// Host address of its first byte.
    pub host: u64,
}

impl PrivateRun {
    fn end(&self) -> u64 {
        self.phys.saturating_add(self.len)
    }
}

/// The anonymous memory of one guest.
#[derive(Debug)]
pub struct PrivateMemory {
    mem: File,
    pagemap: File,
    runs: Vec<PrivateRun>,
    ranges: Vec<PhysRange>,
}

impl PrivateMemory {
    /// Takes `/proc/PID/mem`, `/proc/PID/pagemap`, and where the guest's memory is in the process. Runs
    /// that are not of whole pages of the host or would meet another are left out.
    pub fn new(mem: File, pagemap: File, mut runs: Vec<PrivateRun>) -> Self {
        runs.retain(|it| {
            let whole = it.len > 0 && (it.phys | it.len | it.host).is_multiple_of(PAGE_SIZE);
            whole && it.phys.checked_add(it.len).is_some() && it.host.checked_add(it.len).is_some()
        });
        runs.sort_by_key(|it| it.phys);
        let mut end = 0;
        runs.retain(|it| {
            let apart = it.phys >= end;
            end = if apart { it.end() } else { end };
            apart
        });
        let ranges = merged(runs.iter().map(|it| PhysRange { start: it.phys, end: it.end() }).collect());
        Self { mem, pagemap, runs, ranges }
    }

    fn run_at(&self, phys: u64) -> Option<&PrivateRun> {
        let index = self.runs.partition_point(|it| it.end() <= phys);
        self.runs.get(index).filter(|it| it.phys <= phys)
    }

    /// Whether each of `count` pages from a host address on is there.
    fn there(&self, host: u64, count: u64) -> io::Result<Vec<bool>> {
        let mut entries = vec![0; count as usize * 8];
        self.pagemap.read_exact_at(&mut entries, host / PAGE_SIZE * 8)?;
        let words = entries.chunks_exact(8).filter_map(|it| it.try_into().ok());
        Ok(words.map(|it| u64::from_le_bytes(it) & (PRESENT | SWAPPED) != 0).collect())
    }

    /// Reads within one run and at most [`AT_ONCE`] pages.
    fn read_part(&self, host: u64, buf: &mut [u8]) -> io::Result<()> {
        let first = host / PAGE_SIZE;
        let count = (host + buf.len() as u64).div_ceil(PAGE_SIZE) - first;
        let mut done = 0;
        let there = self.there(host, count)?;
        // Neighbours of one kind in one go.
        for pages in there.chunk_by(|a, b| a == b) {
            let at = host + done as u64;
            let inside = (at % PAGE_SIZE) as usize;
            let len = (pages.len() * PAGE_SIZE as usize - inside).min(buf.len() - done);
            let Some(part) = buf.get_mut(done..done + len) else { break };
            if pages.first() == Some(&true) {
                self.mem.read_exact_at(part, at)?;
            } else {
                part.fill(0);
            }
            done += len;
        }
        Ok(())
    }
}

impl PhysicalMemory for PrivateMemory {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            let run = self.run_at(at).ok_or(ReadError::NotRam { phys: at })?;
            let bound = (run.end() - at).min((AT_ONCE - 1) * PAGE_SIZE);
            let len = (buf.len() - done).min(bound as usize);
            let Some(part) = buf.get_mut(done..done + len) else { break };
            self.read_part(run.host + (at - run.phys), part)
                .map_err(|source| ReadError::Source { phys: at, source })?;
            done += len;
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        let index = self.runs.partition_point(|it| it.end() <= from);
        for run in self.runs.get(index..)? {
            let mut at = run.phys.max(from) / PAGE_SIZE * PAGE_SIZE;
            while at < run.end() {
                let left = (run.end() - at) / PAGE_SIZE;
                let host = run.host + (at - run.phys);
                // What cannot be looked up may hold something.
                let Ok(there) = self.there(host, left.min(SCAN_AT_ONCE)) else {
                    return Some(PhysRange { start: at.max(from), end: run.end() });
                };
                if let Some(first) = there.iter().position(|it| *it) {
                    let rest = there.get(first..).unwrap_or_default();
                    let count = rest.iter().take_while(|it| **it).count() as u64;
                    let start = at + first as u64 * PAGE_SIZE;
                    return Some(PhysRange { start: start.max(from), end: start + count * PAGE_SIZE });
                }
                at += there.len() as u64 * PAGE_SIZE;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 MiB of our own, anonymous and aligned, of which a few pages were touched.
    fn touched() -> (Vec<u8>, u64) {
        let bytes = vec![0u8; 64 << 20];
        let host = (bytes.as_ptr() as u64).next_multiple_of(2 << 20);
        (bytes, host)
    }

    fn memory(runs: Vec<PrivateRun>) -> PrivateMemory {
        let open = |name| File::open(format!("/proc/self/{name}")).unwrap();
        PrivateMemory::new(open("mem"), open("pagemap"), runs)
    }

    #[test]
    fn pages_that_are_not_there_read_as_zeros_and_stay_away() {
        let (mut bytes, host) = touched();
        let base = (host - bytes.as_ptr() as u64) as usize;
        bytes[base + (8 << 20)..][..16].copy_from_slice(&b"here is some text"[..16]);
        let len = 32 << 20;
        let memory = memory(vec![PrivateRun { phys: 0, len, host }]);
        let there = |memory: &PrivateMemory| {
            memory.there(host, len / PAGE_SIZE).unwrap().iter().filter(|it| **it).count()
        };
        let before = there(&memory);
        let mut seen = vec![1; len as usize];
        memory.read(0, &mut seen).unwrap();
        assert_eq!(&seen[8 << 20..][..16], &b"here is some text"[..16]);
        assert!(seen[..8 << 20].iter().all(|it| *it == 0));
        assert_eq!(there(&memory), before);
        let run = memory.populated(0).unwrap();
        assert!(run.contains(8 << 20), "{run:x?}");
        let mut sum = 0;
        let mut from = 0;
        while let Some(run) = memory.populated(from) {
            sum += run.len();
            from = run.end;
        }
        assert_eq!(sum, before as u64 * PAGE_SIZE);
    }

    #[test]
    fn holes_and_wild_runs_are_no_ram() {
        let (_bytes, host) = touched();
        let run = |phys, len, host| PrivateRun { phys, len, host };
        let memory = memory(vec![
            run(0x2000, 0x1000, host),
            run(0x2000, 0x2000, host),
            run(0x8000, !0xfff, host),
            run(0x5001, 0x1000, host),
        ]);
        assert_eq!(memory.ranges(), [PhysRange { start: 0x2000, end: 0x3000 }]);
        memory.read(0x2ff0, &mut [0; 16]).unwrap();
        assert!(matches!(memory.read(0x2ff1, &mut [0; 16]), Err(ReadError::NotRam { phys: 0x3000 })));
        assert!(memory.read(u64::MAX, &mut [0; 2]).is_err());
    }
}
