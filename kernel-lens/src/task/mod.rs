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
mod user;
mod walk;

pub use error::TaskError;
pub use tasks::{KernelTask, TaskProblems, Tasks};

use std::collections::HashMap;

use again::Again;
use clock::Clock;
use details::Details;
use layout::Layout;
use read::Raw;

use crate::{Kernel, Recorder};

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
    let mut raw = Vec::with_capacity(walk.found.len());
    for (address, leader) in idle.iter().map(|it| (*it, *it)).chain(walk.found) {
        match Raw::read(kernel, &layout, &again, address, leader) {
            Ok(it) => raw.push(it),
            Err(_) => problems.unreadable += 1,
        }
    }
    let process_of: HashMap<u64, u32> =
        raw.iter().filter_map(|it| Some((it.address, it.number(layout.tgid)?))).collect();
    let parent = |it: &Raw<'_>| {
        let parent = it.pointer(layout.real_parent)?;
        // A parent that no walk found is one that went while we looked.
        process_of.get(&parent).copied()
    };
    let mut details = options.details.then(|| Details::new(kernel, &layout, options));
    let all = raw.iter().map(|it| {
        let mut task = it.task(kernel, &clock);
        task.ppid = parent(it);
        if let Some(details) = &mut details {
            details.add(it, &mut task);
        }
        KernelTask {
            address: it.address,
            leader: it.leader,
            signal: it.get(layout.signal).unwrap_or(0),
            stack: it.get(layout.stack).unwrap_or(0),
            mm: it.get(layout.mm).unwrap_or(0),
            task,
        }
    });
    Ok(Tasks::new(all.collect(), problems, clock.now()))
}
