//! Tasks on a wait queue of any other kind: what they wait for is told by the queue's address.

use vmward_kernel_facts::{TaskState, WaitEdge, WaitKind, WaitProof, wait_kind};

use super::Look;
use super::list::ring;
use super::rcu;
use super::sleeper::{KERNEL, Sleeper};

/// The waiter's entry lies on its own stack: `struct wait_queue_entry` (`include/linux/wait.h`) with the
/// usual wake functions, in a ring one node of which is the head: the one that has no function to wake by.
///
/// A kind is told by the stack. Where it tells none, only an uninterruptible sleep is worth telling.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let node = kernel.offset("wait_queue_entry", "entry")?;
    let func = kernel.offset("wait_queue_entry", "func")?;
    let head = kernel.offset("wait_queue_head", "head")?;
    let unknown = || (sleeper.task.task.state == Some(TaskState::D)).then_some(WaitKind::Event);
    let kind = wait_kind(&sleeper.task.task).or_else(unknown)?;
    let is_entry = |it: &u64| {
        let function = kernel.space.u64(it.wrapping_sub(node).wrapping_add(func)).unwrap_or(0);
        // Before v6.15 the per-CPU symbols of x86 begin at 0.
        function >= KERNEL && kernel.symbol_at(function).is_some_and(|(it, _)| it.address == function)
    };
    for wake in ["autoremove_wake_function", "default_wake_function", "woken_wake_function"] {
        for entry in sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake) {
            let nodes = ring(&kernel.space, entry.wrapping_add(node)).ok().flatten().unwrap_or_default();
            let mut heads = nodes.into_iter().filter(|it| !is_entry(it));
            let (Some(found), None) = (heads.next(), heads.next()) else { continue };
            let Some(object) = found.checked_sub(head) else { continue };
            let mut edge = look.edge(sleeper, kind, object, Vec::new(), WaitProof::Queued)?;
            rcu::add(look, sleeper, &mut edge);
            return Some(edge);
        }
    }
    None
}
