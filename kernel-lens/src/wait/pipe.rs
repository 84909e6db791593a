//! Tasks that wait for something to be in a pipe, or for room in it.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, WaitTarget};

use super::Look;
use super::list::ring;
use super::sleeper::Sleeper;

/// `struct pipe_inode_info` (`include/linux/pipe_fs_i.h`) has a queue for readers and one for writers since
/// commit 0ddad21d3e99 (v5.5). The pipe is the pointer on the waiter's stack one of whose queues holds the
/// waiter's entry. The other end is with those processes that have a file of it open for that; of several
/// any one may bring what is waited for.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if sleeper.task.mm == 0 {
        return None;
    }
    let kernel = look.kernel;
    let entry = kernel.offset("wait_queue_entry", "entry")?;
    let queues = [("rd_wait.head", false), ("wr_wait.head", true)]
        .map(|(member, writes)| Some((kernel.offset("pipe_inode_info", member)?, writes)));
    let wake = "autoremove_wake_function";
    for at in sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake) {
        let Ok(Some(nodes)) = ring(&kernel.space, at.wrapping_add(entry)) else { continue };
        for (head, writes) in queues.into_iter().flatten() {
            let pipe = sleeper.pointers().find(|it| nodes.contains(&it.wrapping_add(head)));
            let Some(pipe) = pipe else { continue };
            let (mut others, more) = look.pipes().others(pipe, writes);
            // One that has both ends itself does not wait for itself, but for what another may do.
            others.retain(|it| Some(*it) != sleeper.task.task.tgid);
            let proof = if others.is_empty() { WaitProof::Queued } else { WaitProof::OpenFile };
            let mut edge = look.edge(sleeper, WaitKind::Input, pipe, others, proof)?;
            edge.what = Some(WaitTarget::Pipe { writes, more });
            return Some(edge);
        }
    }
    None
}
