//! Whether grace periods of RCU end, and who holds them up: `rcu_state` and its tree of nodes.
//!
//! A leaf of the tree has a bit for each of its CPUs that the grace period still waits for (`qsmask`), and
//! a list of preempted readers, of which those from `gp_tasks` on are waited for (`kernel/rcu/tree.h`,
//! unchanged from v5.0 to v7.2 but for members in between).

use vmward_kernel_facts::machine::{CpuCallbacks, Rcu, TaskName};

use super::clock::Ticks;
use super::object::{Object, symbol};
use super::run_queue::task_name;
use crate::{Kernel, ReadError};

/// Nodes at most: 8192 CPUs with 16 of them on a leaf.
const MAX_NODES: u64 = 1024;
/// Readers that are named.
const MAX_TASKS: usize = 64;
/// The low bits of a grace period's number are its phase (`RCU_SEQ_CTR_SHIFT`).
const PHASE: u64 = 3;

/// Reads it.
///
/// # Errors
/// What a read of the state or of a node said.
pub fn read(kernel: &Kernel<'_>) -> Result<Rcu, ReadError> {
    let state = Object::symbol(kernel, "rcu_state", "rcu_state")?;
    let ticks = Ticks::read(kernel);
    let since = |member| -> Result<Option<u64>, ReadError> {
        let stamp = state.number(member)?;
        Ok(ticks.map(|it| it.since_ms(stamp)))
    };
    let gp_seq = state.number("gp_seq")?;
    let timeout = kernel.symbol("rcu_cpu_stall_timeout").and_then(|it| kernel.space.u32(it).ok());
    let in_progress = gp_seq & PHASE != 0;
    let age_ms = if in_progress { since("gp_start")? } else { None };
    let limit = timeout.map(|it| u64::from(it) * 1000);
    let mut rcu = Rcu {
        gp_seq,
        in_progress,
        age_ms,
        activity_ms: since("gp_activity")?,
        stall_timeout_sec: timeout,
        stalled: age_ms.zip(limit).is_some_and(|(age, limit)| age > limit),
        callbacks: callbacks(kernel)?,
        kthread: state.follow("gp_kthread", "task_struct")?.and_then(|it| task_name(it).ok()),
        ..Default::default()
    };
    leaves(kernel, state, &mut rcu)?;
    Ok(rcu)
}

fn callbacks(kernel: &Kernel<'_>) -> Result<Vec<CpuCallbacks>, ReadError> {
    let one = |cpu: &u32| {
        let data = Object::per_cpu(kernel, "rcu_data", "rcu_data", *cpu)?;
        Ok(CpuCallbacks { cpu: *cpu, count: data.number("cblist.len")? })
    };
    kernel.cpus().iter().map(one).collect()
}

fn leaves(kernel: &Kernel<'_>, state: Object<'_, '_>, rcu: &mut Rcu) -> Result<(), ReadError> {
    let wrong = || ReadError::Inconsistent { what: "rcu_node", virt: state.at };
    let size = kernel.types.size("rcu_node").ok_or_else(wrong)?;
    let levels = u64::from(kernel.space.u32(symbol(kernel, "rcu_num_lvls")?)?);
    let count = u64::from(kernel.space.u32(symbol(kernel, "rcu_num_nodes")?)?).min(MAX_NODES);
    let first = state.address("node")?;
    for index in 0..count {
        let node = Object::new(kernel, "rcu_node", first.wrapping_add(index * size));
        // A reader that is preempted is noted at a leaf; inner nodes sum up their leaves.
        if node.number("level")? + 1 != levels {
            continue;
        }
        let low = node.small("grplo")?;
        let cpus = |mask: u64| (0..64).filter(move |bit| mask & (1 << bit) != 0).map(move |bit| low + bit);
        if low > 1 << 16 {
            return Err(wrong());
        }
        if rcu.in_progress {
            rcu.waiting_cpus.extend(cpus(node.number("qsmask")?));
            rcu.waiting_tasks.extend(readers(kernel, node)?);
        }
        rcu.expedited_cpus.extend(cpus(node.number("expmask")?));
    }
    Ok(())
}

/// Preempted readers that the grace period waits for; only kernels with `CONFIG_PREEMPT_RCU` have any.
fn readers(kernel: &Kernel<'_>, node: Object<'_, '_>) -> Result<Vec<TaskName>, ReadError> {
    let first = node.number("gp_tasks")?;
    if first == 0 || kernel.offset("task_struct", "rcu_node_entry").is_none() {
        return Ok(Vec::new());
    }
    let links = node.list("blkd_tasks")?;
    let waited_for = links.into_iter().skip_while(|it| *it != first).take(MAX_TASKS);
    waited_for.map(|it| task_name(Object::around(kernel, "task_struct", "rcu_node_entry", it)?)).collect()
}
