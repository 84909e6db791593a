//! Tasks that wait for work of a workqueue to end.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::list::ring;
use super::sleeper::Sleeper;
use crate::machine::object::Object;
use crate::task::KernelTask;

/// Workers that are looked at.
const MAX_WORKERS: usize = 4096;

/// `__flush_work()` puts a barrier behind the work and sleeps on the barrier's completion: a `struct
/// wq_barrier` (`kernel/workqueue.c`) on the waiter's stack that names the waiter. Of work that a worker is
/// at, the barrier hangs in that worker's own list (`struct worker.scheduled`): the worker has to end it. Of
/// work that nobody has begun it stands behind the work in the pool's list.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    if sleeper.is_in(&["flush_workqueue", "__flush_workqueue", "drain_workqueue", "destroy_workqueue"]) {
        return whole_queue(look, sleeper);
    }
    if !sleeper.is_in(&["__flush_work", "flush_work", "__cancel_work_sync", "__cancel_work_timer"]) {
        return None;
    }
    let barrier_task = kernel.offset("wq_barrier", "task")?;
    let func = kernel.symbol("wq_barrier_func")?;
    let link = kernel.offset("work_struct", "entry")?;
    for place in sleeper.places_of(sleeper.task.address) {
        let Some(at) = place.checked_sub(barrier_task) else { continue };
        let work = Object::new(kernel, "wq_barrier", at).inside("work", "work_struct").ok()?;
        if work.number("func").ok() != Some(func) {
            continue;
        }
        let Ok(Some(nodes)) = ring(&kernel.space, work.at.wrapping_add(link)) else { continue };
        let doing = workers(look).find_map(|(task, worker)| {
            nodes.contains(&worker.address("scheduled").ok()?).then_some((task, worker))
        });
        return match doing {
            Some((task, worker)) => {
                // The worker may be at the barrier itself, or just done with the work before it.
                let object = worker.number("current_work").ok().filter(|it| *it != 0).unwrap_or(work.at);
                let owners = task.task.pid.into_iter().collect();
                look.edge(sleeper, WaitKind::Completion, object, owners, WaitProof::Queued)
            }
            None => {
                let before = *nodes.last().filter(|_| nodes.len() > 1)?;
                let object = before.checked_sub(link)?;
                look.edge(sleeper, WaitKind::Completion, object, Vec::new(), WaitProof::Queued)
            }
        };
    }
    None
}

/// `flush_workqueue()` waits on a completion on its own stack until all that was queued before has ended
/// (`struct wq_flusher`, in the list of the workqueue): for the workers that are at work of it.
fn whole_queue(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let listed = |queue: Object<'_, '_>| {
        let first = queue.number("first_flusher").unwrap_or(0);
        let queues = ["flusher_queue", "flusher_overflow"].map(|it| queue.list(it).unwrap_or_default());
        sleeper.holds(first) || queues.iter().flatten().any(|it| sleeper.holds(*it))
    };
    let mut owners = Vec::new();
    let mut found = None;
    for (task, worker) in workers(look) {
        let Ok(Some(of)) = worker.follow("current_pwq", "pool_workqueue") else { continue };
        let Ok(Some(queue)) = of.follow("wq", "workqueue_struct") else { continue };
        let on_stack = || sleeper.places_of(queue.at).next().is_some();
        if found == Some(queue.at) || (found.is_none() && on_stack() && listed(queue)) {
            found = Some(queue.at);
            owners.extend(task.task.pid);
        }
    }
    look.edge(sleeper, WaitKind::Completion, found?, owners, WaitProof::Queued)
}

/// Workers with their tasks. `struct worker` (`kernel/workqueue_internal.h`) is the data of the kernel
/// thread: `worker_private` of the task leads to its `struct kthread` since commit e32cf5dfbe22 (v5.17),
/// `set_child_tid` before.
fn workers<'l, 'k, 'm>(
    look: &'l Look<'k, 'm>,
) -> impl Iterator<Item = (&'l KernelTask, Object<'k, 'm>)> + use<'l, 'k, 'm> {
    let kernel = look.kernel;
    let member = ["worker_private", "set_child_tid"];
    let at = member.into_iter().find_map(|it| kernel.offset("task_struct", it));
    let threads = look.tasks.iter().filter(|it| {
        let names = ["worker_thread", "process_one_work", "rescuer_thread"];
        it.mm == 0 && it.task.stack.iter().any(|frame| names.contains(&frame.name()))
    });
    threads.take(MAX_WORKERS).filter_map(move |it| {
        let kthread = kernel.space.u64(it.address.wrapping_add(at?)).ok()?;
        let worker = Object::new(kernel, "kthread", kthread).follow("data", "worker").ok()??;
        (worker.number("task").ok() == Some(it.address)).then_some((it, worker))
    })
}
