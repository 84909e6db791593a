//! Tasks that wait for a completion; of some it is known who completes it.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, wait_kind};

use super::Look;
use super::list::nodes;
use super::rcu;
use super::sleeper::Sleeper;

/// `struct completion` (`include/linux/completion.h`): a count and a queue of `struct swait_queue` since
/// commit a5c6234e1028 (v5.7), of `struct wait_queue_entry` before.
///
/// A completion has no owner. Three have a task that will complete it: the child of `vfork` until it execs
/// (its `vfork_done`), a kernel thread that was told to stop (`struct kthread.exited` is that child's
/// `vfork_done`, too).
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&[
        "wait_for_completion*",
        "__wait_for_common",
        "wait_for_common*",
        "do_wait_for_common",
    ]) {
        return None;
    }
    let kernel = look.kernel;
    let list_at = kernel.offset("completion", "wait.task_list")?;
    let done_at = kernel.offset("completion", "done")?;
    let node_at = kernel.offset("swait_queue", "task_list")?;
    let task_at = kernel.offset("swait_queue", "task")?;
    for object in sleeper.pointers() {
        if kernel.space.u32(object.wrapping_add(done_at)).ok() != Some(0) {
            continue;
        }
        let Some(waiting) = nodes(&kernel.space, object.wrapping_add(list_at)) else { continue };
        let is_mine = |node: &u64| {
            sleeper.holds(*node)
                && kernel.space.u64(node.wrapping_sub(node_at).wrapping_add(task_at)).ok()
                    == Some(sleeper.task.address)
        };
        if waiting.iter().any(is_mine) {
            let owners: Vec<u32> = owner(look, object).into_iter().collect();
            let kind = wait_kind(&sleeper.task.task).unwrap_or(WaitKind::Completion);
            let mut edge = look.edge(sleeper, kind, object, owners, WaitProof::Queued)?;
            rcu::add(look, sleeper, &mut edge);
            return Some(edge);
        }
    }
    None
}

/// The task whose `vfork_done` points to the completion: it completes it when it execs or exits.
fn owner(look: &Look<'_, '_>, object: u64) -> Option<u32> {
    let offset = look.kernel.offset("task_struct", "vfork_done")?;
    let mut children = look.tasks.iter();
    let child =
        children.find(|it| look.kernel.space.u64(it.address.wrapping_add(offset)).ok() == Some(object));
    child?.task.pid.filter(|pid| *pid != 0)
}
