//! Tasks on a wait queue of any other kind: what they wait for is told by the queue's address.

use vmward_kernel_facts::{WaitEdge, WaitProof, wait_kind};

use super::Look;
use super::list::nodes;
use super::sleeper::Sleeper;

/// The waiter's entry lies on its own stack: `struct wait_queue_entry` (`include/linux/wait.h`) with the
/// usual wake functions, in a list whose one node that is no entry on a stack of its own is the head.
///
/// The head is told as the object only if it lies in a symbol of the kernel: else it is just an address.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let node = kernel.offset("wait_queue_entry", "entry")?;
    let head = kernel.offset("wait_queue_head", "head")?;
    for wake in ["autoremove_wake_function", "default_wake_function", "woken_wake_function"] {
        for entry in sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake) {
            let others = nodes(&kernel.space, entry.wrapping_add(node)).unwrap_or_default();
            let named = others.into_iter().find(|it| kernel.symbols.at(*it).is_some());
            let Some(object) = named.and_then(|it| it.checked_sub(head)) else { continue };
            let kind = wait_kind(&sleeper.task.task)?;
            return look.edge(sleeper, kind, object, Vec::new(), WaitProof::Queued);
        }
    }
    None
}
