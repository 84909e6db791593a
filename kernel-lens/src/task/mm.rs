//! What a process's `mm_struct` tells: its command line and its memory.

use std::collections::HashMap;

use vmward_kernel_facts::TaskMemory;

use super::{field::Field, text::TextLimit, user::UserSpace};
use crate::arch::Paging;
use crate::{Kernel, Recorder, UserKey};

/// Bytes of a command line that are read.
const MAX_COMMAND: u64 = 4096;
/// CPUs whose parts of a counter are added up: on a larger guest they would be more pages than all the rest.
const MAX_COUNTED_CPUS: usize = 16;
/// Processes whose command line is read: each costs a dozen pages.
const MAX_COMMANDS: usize = 16_384;

/// What one process's memory says; its threads share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    pub(super) command_line: Option<String>,
    pub(super) memory: Option<TaskMemory>,
}

/// Reads each `mm_struct` once.
pub(super) struct Processes<'a, 'm> {
    kernel: &'a Kernel<'m>,
    /// Where user pages are recorded; `None` for nowhere.
    user_pages: Option<&'a Recorder<'a>>,
    known: HashMap<u64, Process>,
    arg_start: Field,
    arg_end: Field,
    pgd: Field,
    total: Field,
    counters: Counters,
    text: TextLimit,
}

/// The counters of resident pages: of files, anonymous, swapped, shared (`MM_FILEPAGES` and so on, the same
/// order since v4.5).
#[derive(Debug)]
enum Counters {
    /// One word each, until v6.1. What a thread has not yet added to them is missing: up to 64 pages each.
    Plain {
        first: u64,
    },
    /// `struct percpu_counter` each, since commit f1a7941243c1 (v6.2): a sum and a part by CPU.
    PerCpu {
        first: u64,
        size: u64,
        sum: u64,
        parts: u64,
    },
    Unknown,
}

impl<'a, 'm> Processes<'a, 'm> {
    pub(super) fn new(kernel: &'a Kernel<'m>, user_pages: Option<&'a Recorder<'a>>) -> Self {
        let field = |path: &str| Field::find(kernel, "mm_struct", &[path]);
        Self {
            kernel,
            user_pages,
            known: HashMap::new(),
            arg_start: field("arg_start"),
            arg_end: field("arg_end"),
            pgd: field("pgd"),
            total: field("total_vm"),
            counters: Counters::find(kernel),
            text: TextLimit::new(),
        }
    }

    pub(super) fn process(&mut self, mm: u64) -> Process {
        if let Some(known) = self.known.get(&mm) {
            return known.clone();
        }
        let more = self.known.len() < MAX_COMMANDS;
        let command_line = if more { self.command_line(mm) } else { None };
        let command_line = self.text.keep(command_line);
        let process = Process { command_line, memory: self.memory(mm) };
        self.known.insert(mm, process.clone());
        process
    }

    fn word(&self, mm: u64, field: Field) -> Option<u64> {
        self.kernel.space.u64(mm.wrapping_add(field.offset()?)).ok()
    }

    fn command_line(&self, mm: u64) -> Option<String> {
        let (from, to) = (self.word(mm, self.arg_start)?, self.word(mm, self.arg_end)?);
        let len = to.checked_sub(from).filter(|it| *it > 0)?.min(MAX_COMMAND) as usize;
        let pgd = self.word(mm, self.pgd)?;
        let root = self.kernel.space.phys(pgd).ok()?;
        let kernel_memory = self.kernel.space.memory();
        let bytes = kernel_memory.user_text(UserKey { root, virt: from, len: len as u64 }, || {
            let own;
            let memory = match self.user_pages {
                Some(it) => it,
                None => {
                    own = Recorder::new(kernel_memory.memory());
                    &own
                }
            };
            UserSpace::new(self.kernel, memory, root).bytes(from, len)
        });
        joined(&bytes)
    }

    fn memory(&self, mm: u64) -> Option<TaskMemory> {
        let page = match self.kernel.space.paging() {
            Paging::X86_64(_) => 4096,
            Paging::Aarch64(it) => 1u64 << it.granule.shift(),
        };
        let bytes = |pages: u64| pages.saturating_mul(page);
        let counted = |n| self.counters.read(self.kernel, mm, n);
        let (file, anonymous, swapped, shared) = (counted(0)?, counted(1)?, counted(2)?, counted(3)?);
        Some(TaskMemory {
            virtual_bytes: bytes(self.word(mm, self.total)?),
            resident_bytes: bytes(file.saturating_add(anonymous).saturating_add(shared)),
            anonymous_bytes: bytes(anonymous),
            swapped_bytes: bytes(swapped),
        })
    }
}

impl Counters {
    fn find(kernel: &Kernel<'_>) -> Self {
        const MM: &str = "mm_struct";
        if let Some(first) = kernel.offset(MM, "rss_stat.count") {
            // percpu_counter has a member of that name; only the old structure's is an array.
            if kernel.types.array_len(MM, "rss_stat.count").is_some() {
                return Self::Plain { first };
            }
        }
        let per_cpu = || {
            Some(Self::PerCpu {
                first: kernel.offset(MM, "rss_stat")?,
                size: kernel.types.size("percpu_counter")?,
                sum: kernel.offset("percpu_counter", "count")?,
                parts: kernel.offset("percpu_counter", "counters")?,
            })
        };
        per_cpu().unwrap_or(Self::Unknown)
    }

    /// Pages of one counter. A sum that lags behind can be below 0, which the kernel tells as 0 as well.
    fn read(&self, kernel: &Kernel<'_>, mm: u64, n: u64) -> Option<u64> {
        let pages = match self {
            Self::Plain { first } => {
                kernel.space.u64(mm.wrapping_add(*first).wrapping_add(n * 8)).ok()?.cast_signed()
            }
            Self::PerCpu { first, size, sum, parts } => {
                let counter = mm.wrapping_add(*first).wrapping_add(n.wrapping_mul(*size));
                let mut pages = kernel.space.u64(counter.wrapping_add(*sum)).ok()?.cast_signed();
                let parts = kernel.space.u64(counter.wrapping_add(*parts)).ok()?;
                for cpu in kernel.cpus().iter().take(MAX_COUNTED_CPUS) {
                    let Some(offset) = kernel.per_cpu_offset(*cpu) else { continue };
                    let part = kernel.space.u32(parts.wrapping_add(offset)).ok()?;
                    pages = pages.wrapping_add(i64::from(part.cast_signed()));
                }
                pages
            }
            Self::Unknown => return None,
        };
        // A count of pages has not more than 40 bits: what has is torn.
        (pages < 1 << 40).then(|| u64::try_from(pages).unwrap_or(0))
    }
}

/// Arguments as `ps` prints them: what parts them is a NUL each.
fn joined(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.replace('\0', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined_by_spaces() {
        assert_eq!(joined(b"/bin/sh\0-c\0echo  a\0").as_deref(), Some("/bin/sh -c echo  a"));
        assert_eq!(joined(b"nginx: worker\0\0\0\0").as_deref(), Some("nginx: worker"));
        assert_eq!(joined(b"a\xff\0").as_deref(), Some("a\u{fffd}"));
        assert_eq!(joined(b"\0\0"), None);
    }
}
