//! Tasks that wait for a mutex.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::list::WaiterList;
use super::noted::{Noted, candidates};
use super::sleeper::Sleeper;

/// `struct mutex` (`include/linux/mutex_types.h`): the owner's low three bits are flags (waiters, handoff,
/// pickup), since commit 3ca0ff571b09 (v4.10).
///
/// The lock is the pointer on the waiter's stack whose own list of waiters holds the waiter *and* whose
/// owner is a task: with the first test alone a place beside a lock passes too (seen on 6.1). A lock that
/// is just handed on has no owner for an instant; then the task that noted it must be the proof.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&["__mutex_lock*", "mutex_lock*", "__ww_mutex_lock*", "ww_mutex_lock*"]) {
        return None;
    }
    let list = WaiterList::of(look, "mutex", "mutex_waiter")?;
    let owner_at = look.kernel.offset("mutex", "owner")?;
    for (lock, noted) in candidates(look, sleeper, Noted::Mutex) {
        let Ok(word) = look.kernel.space.u64(lock.wrapping_add(owner_at)) else { continue };
        let owner = look.owner(word);
        if owner.is_none() && !(noted && word & !7 == 0) {
            continue;
        }
        let waits = list.tasks(look, lock).is_some_and(|it| it.contains(&sleeper.task.address));
        if waits {
            let proof = if noted { WaitProof::Noted } else { WaitProof::Listed };
            return look.edge(sleeper, WaitKind::Mutex, lock, owner.into_iter().collect(), proof);
        }
    }
    None
}
