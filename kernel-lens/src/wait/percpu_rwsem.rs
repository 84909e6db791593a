//! Tasks that wait for a per-CPU read-write semaphore, such as a frozen file system's.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, wait_kind};

use super::Look;
use super::list::nodes;
use super::sleeper::Sleeper;

/// `struct percpu_rw_semaphore` (`include/linux/percpu-rwsem.h`): its waiters wake by
/// `percpu_rwsem_wake_function`, since commit 7f26482a872c (v5.7). While `block` is set, a writer holds it;
/// which task that is, it does not say: a frozen file system has none that would.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let wake = kernel.symbol("percpu_rwsem_wake_function")?;
    let func = kernel.offset("wait_queue_entry", "func")?;
    let node = kernel.offset("wait_queue_entry", "entry")?;
    let head = kernel.offset("percpu_rw_semaphore", "waiters.head")?;
    let members = ["func", "private"];
    for entry in sleeper.entries(look, "wait_queue_entry", members, "percpu_rwsem_wake_function") {
        let others = nodes(&kernel.space, entry.wrapping_add(node)).unwrap_or_default();
        // Every node but the head has the wake function at its place.
        let is_entry =
            |it: &u64| kernel.space.u64(it.wrapping_sub(node).wrapping_add(func)).ok() == Some(wake);
        let Some(object) = others.into_iter().find(|it| !is_entry(it)).and_then(|it| it.checked_sub(head))
        else {
            continue;
        };
        let kind = wait_kind(&sleeper.task.task)
            .filter(|it| *it == WaitKind::FsFreeze)
            .unwrap_or(WaitKind::PercpuRwsem);
        return look.edge(sleeper, kind, object, Vec::new(), WaitProof::Queued);
    }
    None
}
