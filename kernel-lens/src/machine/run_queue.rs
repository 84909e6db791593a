//! What each CPU runs, and what waits for it: the per-CPU `runqueues` (`struct rq`).

use vmward_kernel_facts::machine::{QueuedTask, RunQueue, SchedClass, TaskName};

use super::object::{Object, list};
use crate::{Kernel, ReadError};

/// Priorities of the real-time class; `prio` 0 is the user's 99 (`MAX_RT_PRIO`).
const RT_PRIORITIES: u64 = 100;
/// Waiting tasks of one CPU that are named.
const MAX_WAITING: usize = 256;

/// Reads the queues of all CPUs that are online.
///
/// # Errors
/// What a read of a queue said.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<RunQueue>, ReadError> {
    let queues: Vec<_> = kernel
        .cpus()
        .iter()
        .map(|cpu| Ok((*cpu, Object::per_cpu(kernel, "rq", "runqueues", *cpu)?)))
        .collect::<Result<_, ReadError>>()?;
    let now = now(kernel);
    queues.into_iter().map(|(cpu, rq)| read_one(cpu, rq, now)).collect()
}

/// The scheduler's time: the clock of the CPU that is furthest, since those of idle and of stuck ones
/// stand still.
pub(super) fn now(kernel: &Kernel<'_>) -> u64 {
    let clock = |cpu: &u32| Object::per_cpu(kernel, "rq", "runqueues", *cpu)?.number("clock");
    kernel.cpus().iter().filter_map(|cpu| clock(cpu).ok()).max().unwrap_or(0)
}

fn read_one(cpu: u32, rq: Object<'_, '_>, now: u64) -> Result<RunQueue, ReadError> {
    let (current, idle) = (rq.number("curr")?, rq.number("idle")?);
    let task = Object::new(rq.kernel, "task_struct", current);
    let own = own_current(rq.kernel, cpu).filter(|it| *it != current);
    let arrived = task.number("sched_info.last_arrival").unwrap_or(0);
    Ok(RunQueue {
        cpu,
        current: task_name(task)?,
        switching: own.and_then(|it| task_name(Object::new(rq.kernel, "task_struct", it)).ok()),
        idle: current == idle,
        current_nsec: (current != idle && arrived > 0).then(|| now.saturating_sub(arrived)),
        clock_nsec: rq.number("clock")?,
        nr_running: rq.small("nr_running")?,
        // `h_nr_queued` since v6.14 (commit 7b8a702d9438).
        fair: rq.either(&["cfs.h_nr_queued", "cfs.h_nr_running"])? as u32,
        real_time: rq.small("rt.rt_nr_running")?,
        deadline: rq.small("dl.dl_nr_running")?,
        // Gone since v6.12, where a deadline server gives fair tasks their share (commit 5f6bd380c7bd).
        real_time_throttled: rq.number("rt.rt_throttled").ok().map(|it| it != 0),
        nr_switches: rq.number("nr_switches")?,
        nr_iowait: rq.small("nr_iowait")?,
        waiting: waiting(rq, current, now)?,
    })
}

/// The CPU's own word: `current_task`, from v6.2 to v6.14 in `pcpu_hot` (commit e57ef2ed97c1). arm64 keeps
/// it in a register.
fn own_current(kernel: &Kernel<'_>, cpu: u32) -> Option<u64> {
    let at = kernel.per_cpu("current_task", cpu).or_else(|| {
        let hot = kernel.per_cpu("pcpu_hot", cpu)?;
        Some(hot.wrapping_add(kernel.offset("pcpu_hot", "current_task")?))
    })?;
    kernel.space.u64(at).ok()
}

/// The name of a task.
pub(super) fn task_name(task: Object<'_, '_>) -> Result<TaskName, ReadError> {
    Ok(TaskName { pid: task.small("pid")?, comm: task.text("comm")?, address: task.at })
}

fn waiting(rq: Object<'_, '_>, current: u64, now: u64) -> Result<Vec<QueuedTask>, ReadError> {
    let mut found = Vec::new();
    let mut add = |task: Object<'_, '_>, class| -> Result<(), ReadError> {
        let delayed = task.number("se.sched_delayed").is_ok_and(|it| it != 0);
        if task.at == current || delayed || found.len() >= MAX_WAITING {
            return Ok(());
        }
        let queued = task.number("sched_info.last_queued").unwrap_or(0);
        let waiting_nsec = (queued > 0).then(|| now.saturating_sub(queued));
        found.push(QueuedTask { task: task_name(task)?, class, waiting_nsec });
        Ok(())
    };
    let bits = [rq.element("rt.active.bitmap", 0)?, rq.element("rt.active.bitmap", 1)?];
    let heads = rq.address("rt.active.queue")?;
    for priority in 0..RT_PRIORITIES {
        if bits[(priority / 64) as usize] & (1 << (priority % 64)) == 0 {
            continue;
        }
        for link in list(rq.kernel, heads.wrapping_add(priority * 16))? {
            // With CONFIG_RT_GROUP_SCHED an entity may be a group, which has a queue of its own.
            let entity = Object::around(rq.kernel, "sched_rt_entity", "run_list", link)?;
            if entity.number("my_q").is_ok_and(|it| it != 0) {
                continue;
            }
            let task = Object::around(rq.kernel, "task_struct", "rt.run_list", link)?;
            add(task, SchedClass::RealTime((RT_PRIORITIES - 1 - priority) as u32))?;
        }
    }
    // Every fair task of the CPU, through all groups; also the one that runs, and since v6.12 such as sleep
    // but still owe time (`sched_delayed`, commit 152e11f6df29).
    for link in rq.list("cfs_tasks")? {
        add(Object::around(rq.kernel, "task_struct", "se.group_node", link)?, SchedClass::Fair)?;
    }
    Ok(found)
}
