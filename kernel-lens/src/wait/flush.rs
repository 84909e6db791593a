//! Tasks that wait for work of a workqueue to end.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::sleeper::Sleeper;

/// Workers that are looked at.
const MAX_WORKERS: usize = 4096;

/// `__flush_work()` puts a barrier behind the work and sleeps on its completion. The work's address is on
/// the waiter's stack; the worker that does it says so (`struct worker.current_work`,
/// `kernel/workqueue_internal.h`), and is a task. `struct worker` is found from a worker's task: a kernel
/// thread's `struct kthread` holds it as its data.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&["__flush_work", "flush_work", "__cancel_work_sync", "__cancel_work_timer"]) {
        return None;
    }
    let kernel = look.kernel;
    let thread_at = kernel.offset("task_struct", "worker_private");
    let data_at = kernel.offset("kthread", "data")?;
    let work_at = kernel.offset("worker", "current_work")?;
    let task_at = kernel.offset("worker", "task")?;
    let workers = look.tasks.iter().filter(|it| {
        let names = ["worker_thread", "process_one_work"];
        it.mm == 0 && it.task.stack.iter().any(|frame| names.contains(&frame.name()))
    });
    let doing: Vec<(u64, u32)> = workers
        .take(MAX_WORKERS)
        .filter_map(|it| {
            // `worker_private` since commit e32cf5dfbe22 (v5.17); before it was `set_child_tid`.
            let at = thread_at.or_else(|| kernel.offset("task_struct", "set_child_tid"))?;
            let kthread = kernel.space.u64(it.address.wrapping_add(at)).ok()?;
            let worker = kernel.space.u64(kthread.wrapping_add(data_at)).ok()?;
            let owner = kernel.space.u64(worker.wrapping_add(task_at)).ok()?;
            let work = kernel.space.u64(worker.wrapping_add(work_at)).ok()?;
            (owner == it.address && work != 0).then_some((work, it.task.pid?))
        })
        .collect();
    let work = sleeper.pointers().find_map(|word| doing.iter().find(|it| it.0 == word))?;
    look.edge(sleeper, WaitKind::Completion, work.0, vec![work.1], WaitProof::Queued)
}
