//! Tasks that wait for a bit: a buffer to be read or written, an inode, a flag of a file system.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, wait_kind};

use super::Look;
use super::sleeper::Sleeper;

/// The waiter's entry lies on its own stack: `struct wait_bit_queue_entry` (`include/linux/wait_bit.h`, since
/// v4.13), whose entry names the task and one of two wake functions, and whose key names the word.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let func = kernel.offset("wait_bit_queue_entry", "wq_entry.func")?;
    let private = kernel.offset("wait_bit_queue_entry", "wq_entry.private")?;
    let flags = kernel.offset("wait_bit_queue_entry", "key.flags")?;
    for wake in ["wake_bit_function", "var_wake_function"].into_iter().filter_map(|it| kernel.symbol(it)) {
        for place in sleeper.places_of(wake) {
            let Some(entry) = place.checked_sub(func) else { continue };
            let word = |offset: u64| kernel.space.u64(entry.wrapping_add(offset)).ok();
            if word(private) != Some(sleeper.task.address) {
                continue;
            }
            let Some(object) = word(flags) else { continue };
            let kind = wait_kind(&sleeper.task.task).unwrap_or(WaitKind::BlockIo);
            return look.edge(sleeper, kind, object, Vec::new(), WaitProof::Queued);
        }
    }
    None
}
