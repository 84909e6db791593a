//! Tasks that hold what does not say who holds it: those with its address on their live stack.

use super::Look;
use super::sleeper::Sleeper;

/// Tasks whose stacks are searched at most.
const MAX_SEARCHED: usize = 4096;

/// Tasks, by `task_struct` and thread id, that sleep with a lock's address on their live stack and do not
/// wait for it. One that only passes by may be among them: how many hold it has to be known otherwise.
pub(super) fn by_stack(look: &Look<'_, '_>, lock: u64, waiters: &[u64]) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    for task in look.tasks.iter().take(MAX_SEARCHED) {
        let Some(pid) = task.task.pid.filter(|pid| *pid != 0) else { continue };
        if waiters.contains(&task.address) {
            continue;
        }
        let Some(other) = Sleeper::read(look, task) else { continue };
        if other.places_of(lock).next().is_some() {
            found.push((task.address, pid));
        }
    }
    found
}
