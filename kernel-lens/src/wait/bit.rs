//! Tasks that wait for a bit: a buffer to be read or written, an inode, a flag of a file system.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, wait_kind};

use super::Look;
use super::journal;
use super::sleeper::Sleeper;

/// The waiter's entry lies on its own stack: `struct wait_bit_queue_entry` (`include/linux/wait_bit.h`, since
/// v4.13), whose entry names the task and one of two wake functions, and whose key names the word.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let flags = kernel.offset("wait_bit_queue_entry", "key.flags")?;
    let members = ["wq_entry.func", "wq_entry.private"];
    let wakes = ["wake_bit_function", "var_wake_function"].into_iter();
    let mut entries = wakes.flat_map(|it| sleeper.entries(look, "wait_bit_queue_entry", members, it));
    let object = entries.find_map(|it| kernel.space.u64(it.wrapping_add(flags)).ok())?;
    let kind = wait_kind(&sleeper.task.task).unwrap_or(WaitKind::Event);
    let mut edge = look.edge(sleeper, kind, object, Vec::new(), WaitProof::Queued)?;
    journal::of_buffer(look, sleeper, &mut edge);
    Some(edge)
}
