//! The scheduler's part of SysRq `t`: which task is on which CPU.

use vmward_kernel_facts::Task;

/// Follows the part that starts with `Sched Debug Version`.
#[derive(Debug, Default)]
pub(super) struct Runqueue {
    inside: bool,
    cpu: Option<u32>,
    /// CPUs whose task was looked up; each costs a walk over all tasks.
    n_lookups: u32,
}

/// CPUs looked up of one list: a text that names the same one over and over must not cost without end.
const MAX_LOOKUPS: u32 = 4_096;

impl Runqueue {
    /// Reads a line; returns whether it was of this part. Marks the task of a CPU's `.curr->pid`.
    pub(super) fn read(&mut self, text: &str, tasks: &mut [Task]) -> bool {
        if text.starts_with("Sched Debug Version: ") {
            *self = Self { inside: true, ..Self::default() };
            return true;
        }
        if !self.inside {
            return false;
        }
        if let Some(rest) = text.strip_prefix("cpu#") {
            self.cpu = rest.split(|it: char| !it.is_ascii_digit()).next().and_then(|it| it.parse().ok());
            return true;
        }
        if text.starts_with("Showing busy workqueues") || text.starts_with("Showing all locks") {
            *self = Self::default();
            return true;
        }
        if let Some(pid) = text.trim().strip_prefix(".curr->pid").and_then(|it| it.trim().strip_prefix(':')) {
            self.n_lookups += 1;
            // Pid 0 is the idle task, which is in no list.
            if let (Ok(pid @ 1..), Some(_)) = (pid.trim().parse::<u32>(), self.cpu)
                && self.n_lookups <= MAX_LOOKUPS
                && let Some(task) = tasks.iter_mut().find(|it| it.pid == Some(pid))
            {
                task.on_cpu = self.cpu;
            }
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_kernel_facts::TaskState;

    #[test]
    fn the_current_task_of_a_cpu_is_marked() {
        let mut tasks = [Task::new(1, "init", TaskState::S), Task::new(152, "spinner", TaskState::R)];
        let mut runqueue = Runqueue::default();
        assert!(!runqueue.read("cpu#1, 2599.996 MHz", &mut tasks));
        for line in [
            "Sched Debug Version: v0.11, 6.12.107",
            "cpu#1, 2599.996 MHz",
            "  .curr->pid                     : 152",
        ] {
            assert!(runqueue.read(line, &mut tasks));
        }
        assert_eq!((tasks[0].on_cpu, tasks[1].on_cpu), (None, Some(1)));
    }
}
