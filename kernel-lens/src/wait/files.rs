//! Files that tasks have open, to find a file's descriptor and who has the other end of a pipe.

use std::collections::{HashMap, HashSet};

use vmward_kernel_facts::{MAX_WAITED_FILES, WaitTarget, WaitedFile};

use super::Look;
use crate::Kernel;
use crate::machine::object::Object;
use crate::task::{KernelTask, file_path};

/// Words of bitmaps and descriptors that are looked at in all, for all waits of one look.
const MAX_STEPS: usize = 1 << 16;
/// Descriptors of a process that are looked at.
const MAX_FDS: u64 = 1 << 16;

/// Bits of `file.f_mode`.
const FOR_READING: u32 = 1;
const FOR_WRITING: u32 = 2;

/// Open descriptors of a table (`struct files_struct`) with their files, ascending. `None` if steps ran out
/// or the table cannot be read.
fn open_files(kernel: &Kernel<'_>, files: u64, left: &mut usize) -> Option<Vec<(i32, u64)>> {
    let table = Object::new(kernel, "files_struct", files).follow("fdt", "fdtable").ok()??;
    let count = table.number("max_fds").ok()?.min(MAX_FDS);
    let (array, bits) = (table.number("fd").ok()?, table.number("open_fds").ok()?);
    let mut found = Vec::new();
    for index in 0..count.div_ceil(64) {
        *left = left.checked_sub(1)?;
        let word = kernel.space.u64(bits.wrapping_add(index * 8)).ok()?;
        for fd in (0..64).filter(|bit| word & (1 << bit) != 0).map(|bit| index * 64 + bit) {
            *left = left.checked_sub(1)?;
            let file = kernel.space.u64(array.wrapping_add(fd * 8)).ok()?;
            // Reserved and not yet filled in.
            if file != 0 && fd < count {
                found.push((i32::try_from(fd).ok()?, file));
            }
        }
    }
    Some(found)
}

fn table_of(kernel: &Kernel<'_>, task: &KernelTask) -> Option<u64> {
    let offset = kernel.offset("task_struct", "files")?;
    kernel.space.u64(task.address.wrapping_add(offset)).ok().filter(|it| *it != 0)
}

/// The processes that have an end of each pipe open.
#[derive(Default)]
pub(super) struct Pipes {
    /// By `pipe_inode_info`: process and mode.
    ends: HashMap<u64, Vec<(u32, u32)>>,
    /// Some process could not be looked at to its end.
    partial: bool,
}

impl Pipes {
    /// Looks at every open file of every process.
    pub(super) fn read(look: &Look<'_, '_>) -> Self {
        let kernel = look.kernel;
        let mut pipes = Self::default();
        let mut left = MAX_STEPS;
        let mut seen = HashSet::new();
        // Files of pipes and FIFOs.
        let Some(operations) = kernel.symbol("pipefifo_fops") else { return pipes };
        let offsets = ["f_op", "private_data", "f_mode"].map(|it| kernel.offset("file", it));
        let [Some(of), Some(data), Some(mode)] = offsets else { return pipes };
        for task in look.tasks.iter().filter(|it| it.mm != 0) {
            let Some(table) = table_of(kernel, task).filter(|it| seen.insert(*it)) else { continue };
            let Some(process) = task.task.tgid.or(task.task.pid) else { continue };
            let Some(files) = open_files(kernel, table, &mut left) else {
                pipes.partial = true;
                continue;
            };
            for (_, file) in files {
                let word = |offset: u64| kernel.space.u64(file.wrapping_add(offset)).ok();
                if word(of) != Some(operations) {
                    continue;
                }
                let (Some(pipe), Ok(mode)) = (word(data), kernel.space.u32(file.wrapping_add(mode))) else {
                    continue;
                };
                pipes.ends.entry(pipe).or_default().push((process, mode));
            }
        }
        pipes
    }

    /// The processes at the other end: those that write if something is to be read. Also says whether there
    /// may be more.
    pub(super) fn others(&self, pipe: u64, writes: bool) -> (Vec<u32>, bool) {
        let wanted = if writes { FOR_READING } else { FOR_WRITING };
        let ends = self.ends.get(&pipe).into_iter().flatten();
        let mut found: Vec<u32> = ends.filter(|it| it.1 & wanted != 0).map(|it| it.0).collect();
        found.sort_unstable();
        found.dedup();
        (found, self.partial)
    }
}

/// Some files as what a task waits for; the first few with descriptor and path.
pub(super) fn target(look: &Look<'_, '_>, task: &KernelTask, files: &[u64]) -> WaitTarget {
    let mut left = MAX_STEPS;
    let open = table_of(look.kernel, task).and_then(|it| open_files(look.kernel, it, &mut left));
    let open = open.unwrap_or_default();
    let named = |file: &u64| {
        let fd = open.iter().find(|it| it.1 == *file).map(|it| it.0);
        let path = fd.and_then(|it| file_path(look.kernel, task, it).ok().flatten());
        WaitedFile { fd, path }
    };
    WaitTarget::Files {
        files: files.iter().take(MAX_WAITED_FILES).map(named).collect(),
        count: files.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pipe_is_told_by_its_mode() {
        let ends = HashMap::from([(0x1000, vec![(7, FOR_READING), (9, FOR_WRITING), (9, FOR_WRITING)])]);
        let pipes = Pipes { ends, partial: false };
        assert_eq!(pipes.others(0x1000, false), (vec![9], false));
        assert_eq!(pipes.others(0x1000, true), (vec![7], false));
        assert_eq!(pipes.others(0x2000, true), (vec![], false));
    }
}
