//! The RAM file of an image as guest-physical memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use vmward_kernel_lens::{PhysRange, PhysicalMemory, ReadError};

/// The name of the RAM block that an image is of.
const BLOCK: &str = "ram0";

/// A run of guest-physical memory and its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    range: PhysRange,
    offset: u64,
}

/// Guest-physical memory out of an image's file.
#[derive(Debug)]
pub struct ImageMemory {
    file: File,
    runs: Vec<Run>,
    ranges: Vec<PhysRange>,
}

impl ImageMemory {
    /// Opens the file; `mtree` is the text of `info mtree -f` and says what lies where.
    ///
    /// # Errors
    /// When the file cannot be opened, or no memory is in the text.
    pub fn open(file: &Path, mtree: &str) -> Result<Self> {
        let runs = runs(mtree);
        ensure!(!runs.is_empty(), "no RAM in the layout");
        let mut ranges: Vec<PhysRange> = Vec::new();
        for run in &runs {
            match ranges.last_mut() {
                Some(last) if last.end == run.range.start => last.end = run.range.end,
                _ => ranges.push(run.range),
            }
        }
        let file = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self { file, runs, ranges })
    }

    fn run(&self, phys: u64) -> Option<&Run> {
        self.runs.iter().find(|it| it.range.contains(phys))
    }

    /// The first data or hole of the file at or after an offset; `None` behind the last.
    fn seek(&self, offset: u64, whence: Whence) -> Option<u64> {
        match lseek(&self.file, i64::try_from(offset).ok()?, whence) {
            Ok(found) => u64::try_from(found).ok(),
            Err(Errno::ENXIO) => None,
            // A file system without holes.
            Err(_) => matches!(whence, Whence::SeekData).then_some(offset),
        }
    }
}

/// Runs of the view that the CPUs have. A shadow of firmware is `rom` while nothing may be written there, but
/// it lies in the block like the rest.
fn runs(mtree: &str) -> Vec<Run> {
    let mut in_memory = false;
    let mut runs = Vec::new();
    for line in mtree.lines() {
        if line.starts_with("FlatView") {
            in_memory = false;
        }
        in_memory |= line.starts_with(" AS \"memory\"");
        runs.extend(run(line).filter(|_| in_memory));
    }
    runs
}

/// `  0000000000100000-000000001fffffff (prio 0, ram): ram0 @0000000000100000`.
fn run(line: &str) -> Option<Run> {
    let (range, rest) = line.trim().split_once(" (prio ")?;
    let (kind, what) = rest.split_once("): ")?;
    let mut words = what.split(' ');
    if !(kind.ends_with("ram") || kind.ends_with("rom")) || words.next() != Some(BLOCK) {
        return None;
    }
    let offset = words.next().and_then(|it| it.strip_prefix('@')).unwrap_or("0");
    let (start, last) = range.split_once('-')?;
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    Some(Run { range: PhysRange { start: hex(start)?, end: hex(last)? + 1 }, offset: hex(offset)? })
}

impl PhysicalMemory for ImageMemory {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            let run = self.run(at).ok_or(ReadError::NotRam { phys: at })?;
            let len = usize::try_from(run.range.end - at).unwrap_or(usize::MAX).min(buf.len() - done);
            let offset = run.offset + (at - run.range.start);
            let failed = |source: io::Error| ReadError::Source { phys: at, source };
            self.file.read_exact_at(&mut buf[done..done + len], offset).map_err(failed)?;
            done += len;
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        for run in self.runs.iter().filter(|it| it.range.end > from) {
            let start = run.range.start.max(from);
            let to_file = |phys: u64| run.offset + (phys - run.range.start);
            let Some(data) = self.seek(to_file(start), Whence::SeekData) else { continue };
            let to_guest = |offset: u64| offset.saturating_sub(run.offset).saturating_add(run.range.start);
            let hole = self.seek(data, Whence::SeekHole).map_or(u64::MAX, to_guest);
            let found = PhysRange { start: to_guest(data), end: hole };
            if let Some(found) = found.overlap(PhysRange { start, end: run.range.end }) {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTREE: &str = "FlatView #0\n AS \"I/O\", root: io\n  0000000000000000-0000000000000fff (prio 0, ram): ram0\n\
        FlatView #1\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n\
        \u{20} 0000000000000000-0000000000000fff (prio 0, ram): ram0\n\
        \u{20} 0000000000001000-0000000000001fff (prio 0, rom): ram0 @0000000000001000\n\
        \u{20} 0000000000002000-0000000000002fff (prio 0, i/o): hole\n\
        \u{20} 0000000000003000-0000000000003fff (prio 0, ram): ram0 @0000000000002000\n\
        \u{20} 00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n";

    #[test]
    fn memory_lies_where_the_layout_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ram");
        let mut bytes = vec![0; 0x3000];
        bytes[0xffe..0x1002].copy_from_slice(b"abcd");
        bytes[0x2000] = b'e';
        std::fs::write(&path, bytes).unwrap();
        let memory = ImageMemory::open(&path, MTREE).unwrap();
        let range = |start, end| PhysRange { start, end };
        assert_eq!(memory.ranges(), [range(0, 0x2000), range(0x3000, 0x4000)]);
        let mut four = [0; 4];
        memory.read(0xffe, &mut four).unwrap();
        assert_eq!(&four, b"abcd");
        memory.read(0x3000, &mut four[..1]).unwrap();
        assert_eq!(four[0], b'e');
        assert!(matches!(memory.read(0x1ffe, &mut four), Err(ReadError::NotRam { phys: 0x2000 })));
        assert_eq!(memory.populated(0x2800).map(|it| it.start), Some(0x3000));
        assert_eq!(memory.populated(0x4000), None);
    }
}
