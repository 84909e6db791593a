//! All tasks of one look, to be asked by address and by number.

use std::collections::HashMap;

use vmward_kernel_facts::Task;

/// A task and the addresses that other readers go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTask {
    /// Of its `task_struct`.
    pub address: u64,
    /// Of the `task_struct` that leads its thread group.
    pub leader: u64,
    /// Of its `signal_struct`.
    pub signal: u64,
    /// Of its parent's `task_struct`.
    pub parent: u64,
    /// Lowest address of its kernel stack; 0 for a dead one that has none any more.
    pub stack: u64,
    /// Of its `mm_struct`; 0 for a kernel thread.
    pub mm: u64,
    /// What is told of it.
    pub task: Task,
}

/// What of the tasks could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskProblems {
    /// Tasks that were found and made no sense, at a second look as well.
    pub unreadable: u32,
    /// Lists of tasks that were torn; what could be reached from their other end is there.
    pub broken_lists: u32,
    /// There are more threads than were allowed.
    pub truncated: bool,
}

impl TaskProblems {
    /// Whether all tasks were read.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// All tasks of one look.
#[derive(Debug, Default)]
pub struct Tasks {
    all: Vec<KernelTask>,
    by_address: HashMap<u64, usize>,
    by_pid: HashMap<u32, usize>,
    /// What could not be read.
    pub problems: TaskProblems,
    /// The scheduler's clock in nanoseconds, which [`Task::in_state`] counts to.
    pub now_ns: Option<u64>,
}

impl Tasks {
    /// Takes what was read; of two with one address or thread id the first is found.
    pub fn new(all: Vec<KernelTask>, problems: TaskProblems, now_ns: Option<u64>) -> Self {
        let (mut by_address, mut by_pid) = (HashMap::new(), HashMap::new());
        for (at, it) in all.iter().enumerate() {
            by_address.entry(it.address).or_insert(at);
            if let Some(pid) = it.task.pid.filter(|pid| *pid != 0) {
                by_pid.entry(pid).or_insert(at);
            }
        }
        Self { all, by_address, by_pid, problems, now_ns }
    }

    /// The task of a `task_struct`. `None` also says: no pointer to a task.
    pub fn at(&self, address: u64) -> Option<&KernelTask> {
        self.all.get(*self.by_address.get(&address)?)
    }

    /// The same, to add to it.
    pub fn at_mut(&mut self, address: u64) -> Option<&mut KernelTask> {
        self.all.get_mut(*self.by_address.get(&address)?)
    }

    /// The thread of a number. Idle tasks have none.
    pub fn by_pid(&self, pid: u32) -> Option<&KernelTask> {
        self.all.get(*self.by_pid.get(&pid)?)
    }

    /// Every task: idle ones by CPU, then processes with their threads, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, KernelTask> {
        self.all.iter()
    }

    /// The same, to add to them.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, KernelTask> {
        self.all.iter_mut()
    }

    /// What is told of each, in the same order.
    pub fn into_tasks(self) -> Vec<Task> {
        self.all.into_iter().map(|it| it.task).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_kernel_facts::TaskState;

    fn task(address: u64, pid: u32) -> KernelTask {
        let task = Task::new(pid, "t", TaskState::S);
        KernelTask { address, leader: address, signal: 0, parent: 0, stack: 0, mm: 0, task }
    }

    #[test]
    fn tasks_are_found_by_address_and_by_number() {
        let tasks = Tasks::new(vec![task(16, 0), task(32, 1), task(48, 1)], TaskProblems::default(), None);
        assert_eq!(tasks.at(48).map(|it| it.address), Some(48));
        assert_eq!(tasks.by_pid(1).map(|it| it.address), Some(32));
        assert!(tasks.by_pid(0).is_none() && tasks.at(1).is_none());
        assert!(tasks.problems.is_none() && tasks.len() == 3 && !tasks.is_empty());
    }
}
