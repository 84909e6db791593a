//! The child's side of an order: descriptors become memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use vmward_kernel_lens::source::{FileBytes, Segment, SegmentMemory, merged, open_bytes};
use vmward_kernel_lens::{Cpu, PhysRange, PhysicalMemory, ReadError};

use super::order::{MemoryFrom, PartAt};
use crate::transport::memory::{PrivateMemory, PrivateRun};

/// A guest's memory, and the registers that came with it (a core's).
pub(super) struct Source {
    pub(super) memory: Box<dyn PhysicalMemory + Send + Sync>,
    pub(super) cpus: Vec<Cpu>,
}

/// Makes memory of what an order says.
///
/// # Errors
/// In a sentence.
pub(super) fn open(from: &MemoryFrom, files: Vec<OwnedFd>) -> Result<Source, String> {
    let mut files: Vec<Option<File>> = files.into_iter().map(|it| Some(File::from(it))).collect();
    let mut take = |number: usize| {
        let file = files.get_mut(number).and_then(Option::take);
        file.ok_or_else(|| format!("descriptor {number} of the order is missing"))
    };
    let looked = |it: io::Error| format!("a file of the guest's memory cannot be looked at: {it}");
    match from {
        MemoryFrom::Core => {
            let bytes = FileBytes::new(take(0)?).map_err(looked)?;
            let opened = open_bytes(Box::new(bytes)).map_err(|it| chain(&it))?;
            Ok(Source { memory: opened.memory, cpus: opened.cpus })
        }
        MemoryFrom::Live { parts, process } => {
            let runs = parts.iter().filter_map(|it| match it.at {
                PartAt::Process { host } => Some(PrivateRun { phys: it.phys, len: it.len, host }),
                PartAt::File { .. } => None,
            });
            let runs: Vec<PrivateRun> = runs.collect();
            let private = match process {
                Some((mem, pagemap)) => Some(PrivateMemory::new(take(*mem)?, take(*pagemap)?, runs)),
                None if runs.is_empty() => None,
                None => return Err("the order names QEMU's own memory and gives no way to it".to_owned()),
            };
            // The descriptors that are left are the files; each keeps its number.
            let (mut numbers, mut opened) = (Vec::new(), Vec::new());
            let mut segments = Vec::new();
            for part in parts {
                let PartAt::File { file, offset } = part.at else { continue };
                let at = match numbers.iter().position(|it| *it == file) {
                    Some(at) => at,
                    None => {
                        opened.push(FileBytes::new(take(file)?).map_err(looked)?);
                        numbers.push(file);
                        numbers.len() - 1
                    }
                };
                segments.push(Segment { phys: part.phys, len: part.len, file: at, offset });
            }
            let shared = (!segments.is_empty()).then(|| SegmentMemory::new(opened, segments));
            let memory: Box<dyn PhysicalMemory + Send + Sync> = match (shared, private) {
                (Some(it), None) => Box::new(it),
                (None, Some(it)) => Box::new(it),
                (Some(a), Some(b)) => Box::new(Both::new(a, b)),
                (None, None) => return Err("the order names no memory".to_owned()),
            };
            Ok(Source { memory, cpus: Vec::new() })
        }
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}

/// Memory of which some blocks are files and some are QEMU's own.
struct Both<A, B> {
    first: A,
    second: B,
    ranges: Vec<PhysRange>,
}

impl<A: PhysicalMemory, B: PhysicalMemory> Both<A, B> {
    fn new(first: A, second: B) -> Self {
        let ranges = merged(first.ranges().iter().chain(second.ranges()).copied().collect());
        Self { first, second, ranges }
    }
}

impl<A: PhysicalMemory, B: PhysicalMemory> PhysicalMemory for Both<A, B> {
    fn ranges(&self) -> &[PhysRange] {
        &self.ranges
    }

    fn read(&self, phys: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = phys.checked_add(done as u64).ok_or(ReadError::NotRam { phys })?;
            let in_first = self.first.ranges().iter().find(|it| it.contains(at));
            let in_second = self.second.ranges().iter().find(|it| it.contains(at));
            let range = in_first.or(in_second).ok_or(ReadError::NotRam { phys: at })?;
            let len = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buf.len() - done);
            let Some(part) = buf.get_mut(done..done + len) else { break };
            if in_first.is_some() {
                self.first.read(at, part)?
            } else {
                self.second.read(at, part)?
            }
            done += len;
        }
        Ok(())
    }

    fn populated(&self, from: u64) -> Option<PhysRange> {
        match (self.first.populated(from), self.second.populated(from)) {
            (Some(a), Some(b)) => Some(if a.start <= b.start { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::look::order::Part;

    fn file(bytes: &[u8]) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.into()
    }

    #[test]
    fn parts_of_files_and_of_a_process_are_one_memory() {
        let own = vec![7u8; 3 * 4096];
        let host = (own.as_ptr() as u64).next_multiple_of(4096);
        let open_proc = |name: &str| OwnedFd::from(File::open(format!("/proc/self/{name}")).unwrap());
        let files = vec![file(&[1; 8192]), open_proc("mem"), open_proc("pagemap")];
        let parts = vec![
            Part { phys: 0, len: 8192, at: PartAt::File { file: 0, offset: 0 } },
            Part { phys: 8192, len: 4096, at: PartAt::Process { host } },
        ];
        let found = open(&MemoryFrom::Live { parts, process: Some((1, 2)) }, files).unwrap();
        let mut bytes = [0; 16];
        found.memory.read(8192 - 8, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 1, 1, 1, 1, 1, 1, 1, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert_eq!(found.memory.ranges(), [PhysRange { start: 0, end: 3 * 4096 }]);
        assert!(found.memory.read(3 * 4096, &mut bytes).is_err());
    }

    #[test]
    fn an_order_whose_descriptors_are_missing_is_refused() {
        let parts = vec![Part { phys: 0, len: 4096, at: PartAt::File { file: 3, offset: 0 } }];
        assert!(open(&MemoryFrom::Live { parts, process: None }, Vec::new()).is_err());
        let parts = vec![Part { phys: 0, len: 4096, at: PartAt::Process { host: 0 } }];
        assert!(open(&MemoryFrom::Live { parts, process: None }, Vec::new()).is_err());
        assert!(open(&MemoryFrom::Core, Vec::new()).is_err());
        assert!(open(&MemoryFrom::Core, vec![file(b"no core")]).is_err());
    }
}
