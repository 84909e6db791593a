//! Every thread of the guest, with what its kernel knows of it.
//!
//! A task is found by walking `init_task.tasks` and the threads of each process, an idle task by its CPU's
//! runqueue. What of it cannot be read is left out and counted, never guessed.
//!
//! Start at [`read_tasks`].

mod again;
mod cgroup;
mod clock;
mod details;
mod error;
mod field;
mod files;
mod layout;
mod mm;
mod read;
mod state;
mod syscall;
mod syscall_files;
mod syscall_names;
mod tasks;
mod text;
mod user;
mod wait_channel;
mod walk;

pub use error::TaskError;
pub use tasks::{KernelTask, TaskProblems, Tasks};
pub use wait_channel::wait_channel;

use std::collections::HashMap;

use vmward_kernel_facts::Syscall;

use again::Again;
use clock::Clock;
use details::Details;
use files::Files;
use layout::Layout;
use read::Raw;

use crate::{Kernel, ReadError, Recorder};

/// What to read of tasks, and how much.
#[derive(Clone, Copy)]
pub struct TaskOptions<'a> {
    /// Threads at most.
    pub max_threads: usize,
    /// Also what lies outside of `task_struct`: command line, cgroup, system call, memory.
    pub details: bool,
    /// Where pages of user space are recorded, and the page tables that lead to them; `None` for nowhere.
    /// With the kernel's own recorder they become part of the minicore.
    pub user_pages: Option<&'a Recorder<'a>>,
}

impl Default for TaskOptions<'_> {
    fn default() -> Self {
        Self { max_threads: 65_536, details: true, user_pages: None }
    }
}

/// The system call of one task: for a task on a CPU of which the caller knows, from the vCPU's registers, that
/// it runs kernel code. Of sleeping tasks [`read_tasks`] has told it.
///
/// # Errors
/// As [`read_tasks`].
pub fn read_syscall(kernel: &Kernel<'_>, task: &KernelTask) -> Result<Option<Syscall>, TaskError> {
    let layout = Layout::new(kernel)?;
    let Ok(raw) = Raw::read(kernel, &layout, &Again::new(), task.address, task.leader) else {
        return Ok(None);
    };
    Ok(Details::new(kernel, &layout, TaskOptions::default()).syscall(&raw))
}

/// Reads every thread.
///
/// # Errors
/// [`TaskError`] if this kernel has no such thing as tasks that we know of. A single task that cannot be read
/// is no error: [`Tasks::problems`] counts them.
pub fn read_tasks(kernel: &Kernel<'_>, options: TaskOptions<'_>) -> Result<Tasks, TaskError> {
    let layout = Layout::new(kernel)?;
    let init_task = kernel.symbol("init_task").ok_or(TaskError::NoSymbol("init_task"))?;
    let again = Again::new();
    let clock = Clock::read(kernel);
    let walk = walk::every_thread(&kernel.space, &layout, &again, init_task, options.max_threads);
    let mut problems = TaskProblems { unreadable: 0, broken_lists: walk.broken, truncated: walk.truncated };
    let idle = if clock.idle.is_empty() { vec![init_task] } else { clock.idle.clone() };
    let mut details = options.details.then(|| Details::new(kernel, &layout, options));
    let mut all = Vec::new();
    for (address, leader) in idle.iter().map(|it| (*it, *it)).chain(walk.found) {
        let Ok(raw) = Raw::read(kernel, &layout, &again, address, leader) else {
            problems.unreadable += 1;
            continue;
        };
        let mut task = raw.task(kernel, &clock);
        if let Some(details) = &mut details {
            details.add(&raw, &mut task);
        }
        all.push(KernelTask { task, ..raw.addresses() });
    }
    // A parent that no walk found is one that went while we looked.
    let process_of: HashMap<u64, Option<u32>> = all.iter().map(|it| (it.address, it.task.tgid)).collect();
    for it in &mut all {
        it.task.ppid = process_of.get(&it.parent).copied().flatten();
    }
    Ok(Tasks::new(all, problems, clock.now()))
}

/// What a descriptor of a task is: a path, `pipe:[INODE]`, `socket:[INODE]`, `anon_inode:NAME`; `None` for one
/// that is not open. -100 is the working directory.
///
/// # Errors
/// Whatever on the way could not be read.
pub fn file_path(kernel: &Kernel<'_>, task: &KernelTask, fd: i32) -> Result<Option<String>, ReadError> {
    let word = |member| kernel.word(task.address, "task_struct", member);
    Files::new(kernel).path(word("files")?, word("fs")?, fd)
}
