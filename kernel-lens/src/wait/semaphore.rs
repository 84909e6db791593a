//! Tasks that wait for a counting semaphore.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::list::WaiterList;
use super::noted::{Noted, candidates};
use super::sleeper::Sleeper;

/// `struct semaphore` (`include/linux/semaphore.h`) has no owner: whoever ups it may never have downed it.
/// Since v6.16 (commit 194a9b9e843b, `CONFIG_DETECT_HUNG_TASK_BLOCKER`) it notes the last task that took it;
/// with a count of 0 that one holds it or has handed it on.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&[
        "__down",
        "__down_common",
        "__down_interruptible",
        "__down_killable",
        "__down_timeout",
        "down",
    ]) {
        return None;
    }
    let list = WaiterList::of(look, "semaphore", "semaphore_waiter")?;
    let count_at = look.kernel.offset("semaphore", "count")?;
    let holder_at = look.kernel.offset("semaphore", "last_holder");
    for (lock, noted) in candidates(look, sleeper, Noted::Semaphore) {
        // Nobody waits for a semaphore that has something left.
        if look.kernel.space.u32(lock.wrapping_add(count_at)).ok() != Some(0) {
            continue;
        }
        let waits = list.tasks(look, lock).is_some_and(|it| it.contains(&sleeper.task.address));
        if waits {
            let holder = holder_at.and_then(|it| look.kernel.space.u64(lock.wrapping_add(it)).ok());
            let owner = holder.and_then(|it| look.owner(it));
            let proof = if noted { WaitProof::Noted } else { WaitProof::Listed };
            return look.edge(sleeper, WaitKind::Semaphore, lock, owner.into_iter().collect(), proof);
        }
    }
    None
}
