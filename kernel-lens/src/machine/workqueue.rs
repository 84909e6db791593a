//! What the kernel's workqueues do: pools of workers, and the work that waits for one.
//!
//! Each CPU has two pools (`cpu_worker_pools`, the second with a better priority), all others are in a table
//! by hash (`unbound_pool_hash`); since v6.9 there are two more by CPU whose work runs in a soft interrupt
//! (commit 4cb1ef64609f). Layouts: `kernel/workqueue.c`, `kernel/workqueue_internal.h`.

use std::collections::HashSet;

use vmward_kernel_facts::machine::{RunningWork, WorkerPool};

use super::clock::Ticks;
use super::object::{Object, function, list};
use super::run_queue::task_name;
use crate::{Kernel, ReadError};

/// Pools of a CPU (`NR_STD_WORKER_POOLS`).
const POOLS_OF_CPU: u64 = 2;
/// Buckets of the table (`UNBOUND_POOL_HASH_ORDER` is 6).
const BUCKETS: u64 = 64;
/// Unbound pools at most.
const MAX_POOLS: usize = 4096;
/// Functions of pending work that are named.
const MAX_NAMED: usize = 8;
const WORKER_RESCUER: u64 = 1 << 4;

/// Reads all pools.
///
/// # Errors
/// What a read of a pool said.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<WorkerPool>, ReadError> {
    let wrong = ReadError::Inconsistent { what: "worker_pool", virt: 0 };
    let size = kernel.types.size("worker_pool").ok_or(wrong)?;
    let mut places = Vec::new();
    for cpu in kernel.cpus() {
        for name in ["cpu_worker_pools", "bh_worker_pools"] {
            let first = kernel.per_cpu(name, *cpu);
            places.extend(first.into_iter().flat_map(|at| {
                (0..POOLS_OF_CPU).map(move |index| at.wrapping_add(index.wrapping_mul(size)))
            }));
        }
    }
    if let Some(table) = kernel.symbol("unbound_pool_hash") {
        for bucket in 0..BUCKETS {
            for link in list(kernel, table.wrapping_add(bucket * 8))? {
                places.push(Object::around(kernel, "worker_pool", "hash_node", link)?.at);
            }
        }
    }
    let mut seen = HashSet::new();
    places.retain(|it| seen.insert(*it));
    places.truncate(MAX_POOLS);
    let ticks = Ticks::read(kernel);
    let pool = |at| read_pool(Object::new(kernel, "worker_pool", at), ticks);
    places.into_iter().map(pool).collect()
}

fn read_pool(pool: Object<'_, '_>, ticks: Option<Ticks>) -> Result<WorkerPool, ReadError> {
    let kernel = pool.kernel;
    let pending = pool.list("worklist")?;
    let named = |link: &u64| {
        let work = Object::around(kernel, "work_struct", "entry", *link)?;
        Ok(function(kernel, work.number("func")?))
    };
    // `watchdog_ts` up to v6.12; v7.2 has the other name.
    let progress = pool.either(&["last_progress_ts", "watchdog_ts"]).ok();
    let stalled = progress.filter(|_| !pending.is_empty()).zip(ticks);
    let mut running = Vec::new();
    for link in pool.list("workers")? {
        let worker = Object::around(kernel, "worker", "node", link)?;
        running.extend(read_worker(worker, ticks)?);
    }
    Ok(WorkerPool {
        id: pool.small("id")?.cast_signed(),
        cpu: u32::try_from(pool.small("cpu")?.cast_signed()).ok(),
        workers: pool.small("nr_workers")?,
        idle: pool.small("nr_idle")?,
        pending: pending.len() as u64,
        pending_functions: pending.iter().take(MAX_NAMED).map(named).collect::<Result<_, ReadError>>()?,
        stalled_ms: stalled.map(|(stamp, ticks)| ticks.since_ms(stamp)),
        running,
    })
}

/// What a worker is at; `None` if it is idle.
fn read_worker(worker: Object<'_, '_>, ticks: Option<Ticks>) -> Result<Option<RunningWork>, ReadError> {
    let at = worker.number("current_func")?;
    if at == 0 {
        return Ok(None);
    }
    let of = worker.follow("current_pwq", "pool_workqueue")?;
    let queue = of.and_then(|it| it.follow("wq", "workqueue_struct").ok().flatten());
    let began = worker.number("current_start").ok().filter(|it| *it != 0);
    Ok(Some(RunningWork {
        worker: worker.follow("task", "task_struct")?.map(task_name).transpose()?,
        function: function(worker.kernel, at),
        workqueue: queue.and_then(|it| it.text("name").ok()),
        rescuer: worker.number("rescue_wq")? != 0 || worker.number("flags")? & WORKER_RESCUER != 0,
        age_ms: began.zip(ticks).map(|(stamp, ticks)| ticks.since_ms(stamp)),
    }))
}
