//! What each sleeping task waits for, and who holds it: the edges of the wait graph.
//!
//! A reader of one kind of wait takes a sleeper's stack, finds the object there and shows that it is one:
//! the object's own list of waiters holds the sleeper, its owner is a task. Where no such test passes, the
//! edge says only what the frames say, and names no object and no owner.
//!
//! Whoever spins on a CPU sleeps nowhere: [`spin`] reads those from the CPUs.

mod bit;
mod completion;
mod files;
mod flush;
mod freeze;
mod futex;
mod holders;
mod journal;
mod list;
mod look;
mod mutex;
mod noted;
mod page;
mod percpu_rwsem;
mod pipe;
mod poll;
mod queue;
mod rcu;
mod request;
mod rtmutex;
mod rwsem;
mod semaphore;
mod sleeper;
mod spin;
#[cfg(test)]
mod test_kernel;

use std::collections::BTreeSet;

use vmward_kernel_facts::{CpuStack, TaskState, WaitEdge, WaitGraph, WaitKind, WaitProof, wait_kind};

use crate::task::{KernelTask, Tasks};
use crate::{Cpu, Kernel};
use look::Look;
use sleeper::Sleeper;

/// One kind of wait: gives an edge if its test passes.
type Reader = fn(&Look<'_, '_>, &Sleeper<'_>) -> Option<WaitEdge>;

/// All of them; the first that gives an edge wins.
const READERS: [Reader; 15] = [
    rtmutex::read,
    mutex::read,
    rwsem::read,
    semaphore::read,
    percpu_rwsem::read,
    page::read,
    bit::read,
    flush::read,
    completion::read,
    futex::read,
    journal::read,
    poll::read_epoll,
    poll::read,
    pipe::read,
    queue::read,
];

/// The wait graph of tasks whose stacks have been read ([`vmward_kernel_facts::Task::stack`]).
///
/// `stacks` and `cpus` are what the guest's CPUs do and the vCPUs' registers: without them nobody is seen to
/// spin. Tasks that only rest (for a timer, for work, for input of which nobody has the other end) give no
/// edge. What changed while it was read is told among `problems`.
pub fn read_waits(
    kernel: &Kernel<'_>,
    tasks: &Tasks,
    stacks: &[CpuStack],
    cpus: &[Cpu],
    problems: &mut Vec<String>,
) -> WaitGraph {
    let look = Look::new(kernel, tasks);
    let mut edges: Vec<WaitEdge> = tasks.iter().filter_map(|it| edge_of(&look, it)).collect();
    edges.extend(spin::read(&look, stacks, cpus));
    edges.extend(rcu::driver(&look, &edges));
    let mut graph = WaitGraph::new(edges);
    // The edges of a cycle were read one after the other: on a guest that runs they may never have been
    // there together. A cycle that is one stands still.
    while !graph.cycles.is_empty() {
        let suspects: BTreeSet<u32> = graph.cycles.iter().flatten().copied().collect();
        let before = graph.edges.len();
        graph
            .edges
            .retain(|it| !suspects.contains(&it.waiter) || it.spins_on.is_some() || is_still(&look, it));
        if graph.edges.len() == before {
            break;
        }
        look.count_moved(before - graph.edges.len());
        graph = WaitGraph::new(graph.edges);
    }
    for root in &mut graph.roots {
        let task = tasks.by_pid(root.task).map(|it| &it.task).filter(|it| it.on_cpu.is_none());
        let sleeps = task.filter(|it| it.state != Some(TaskState::R));
        root.still_ns = sleeps.and_then(|it| it.in_state).map(|it| it.ns);
    }
    if look.moved() > 0 {
        problems.push(format!("{} waits changed while they were read and are not told", look.moved()));
    }
    graph
}

/// What one task waits for.
fn edge_of(look: &Look<'_, '_>, task: &KernelTask) -> Option<WaitEdge> {
    let kind = wait_kind(&task.task);
    // Where the stack says nothing, an uninterruptible sleep is still one for something.
    if task.task.on_cpu.is_some() || (kind.is_none() && !task.task.is_blocked()) {
        return None;
    }
    let pid = task.task.pid.filter(|pid| *pid != 0)?;
    let sleeper = Sleeper::read(look, task);
    let proved = sleeper.as_ref().and_then(|it| proved(look, it, kind));
    if let Some(edge) = proved {
        let told = !edge.kind.is_rest() || !edge.owners.is_empty() || edge.what.is_some();
        return told.then_some(edge);
    }
    let kind = kind.filter(|it| !it.is_rest() && *it != WaitKind::Stopped)?;
    if sleeper.is_some_and(|it| it.has_moved(look)) {
        look.count_moved(1);
        return None;
    }
    let waiting_ns = task.task.in_state.map(|it| it.ns);
    Some(WaitEdge { waiting_ns, ..WaitEdge::new(pid, kind, WaitProof::Frames) })
}

fn proved(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, kind: Option<WaitKind>) -> Option<WaitEdge> {
    let edge = READERS.iter().find_map(|reader| reader(look, sleeper));
    let told = edge.as_ref().map(|it| it.kind).or(kind);
    match told.filter(|it| matches!(it, WaitKind::BlockIo | WaitKind::PageIo)) {
        Some(kind) => request::with_disk(look, sleeper, kind, edge),
        None => edge,
    }
}

/// Whether an edge is there at a second look as well, and its waiter has not moved.
fn is_still(look: &Look<'_, '_>, edge: &WaitEdge) -> bool {
    let Some(task) = look.tasks.by_pid(edge.waiter) else { return false };
    let Some(before) = Sleeper::read(look, task) else { return false };
    look.forget(edge.object.unwrap_or(0), 8);
    if before.has_moved(look) {
        return false;
    }
    edge_of(look, task).is_some_and(|it| it.object == edge.object && it.owners == edge.owners)
}
