//! Tasks that wait for a page or folio to be read, written or unlocked.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::sleeper::Sleeper;

/// The waiter's entry lies on its own stack: `struct wait_page_queue` (`include/linux/pagemap.h`), whose
/// wait entry names the task (`private`) and the function `wake_page_function`. Three words that must agree:
/// nothing else looks so. `page` became `folio` by commit df4d4f127394 (v5.16).
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let object =
        kernel.offset("wait_page_queue", "folio").or_else(|| kernel.offset("wait_page_queue", "page"))?;
    let members = ["wait.func", "wait.private"];
    let mut queues = sleeper.entries(look, "wait_page_queue", members, "wake_page_function");
    let folio = queues.find_map(|it| kernel.space.u64(it.wrapping_add(object)).ok())?;
    look.edge(sleeper, WaitKind::PageIo, folio, Vec::new(), WaitProof::Queued)
}
