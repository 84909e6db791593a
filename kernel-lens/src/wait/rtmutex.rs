//! Tasks that wait for an rt-mutex: PI futexes, and every lock of a PREEMPT_RT kernel.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::sleeper::Sleeper;

/// The kernel notes the waiter in the task (`task_struct.pi_blocked_on`), and the waiter names task and lock
/// (`struct rt_mutex_waiter`, `kernel/locking/rtmutex_common.h`); bit 0 of the lock's owner says that there
/// are waiters. `struct rt_mutex_base` since v5.15, before that `struct rt_mutex`.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let offset = kernel.offset("task_struct", "pi_blocked_on")?;
    let waiter = kernel.space.u64(sleeper.task.address.wrapping_add(offset)).ok().filter(|it| *it != 0)?;
    let of_waiter = |member| {
        let at = waiter.checked_add(kernel.offset("rt_mutex_waiter", member)?)?;
        kernel.space.u64(at).ok()
    };
    if of_waiter("task")? != sleeper.task.address {
        return None;
    }
    let lock = of_waiter("lock")?;
    let owner_at = kernel.offset("rt_mutex_base", "owner").or_else(|| kernel.offset("rt_mutex", "owner"))?;
    let owner = look.owner(kernel.space.u64(lock.checked_add(owner_at)?).ok()?)?;
    look.edge(sleeper, WaitKind::RtMutex, lock, vec![owner], WaitProof::Noted)
}
