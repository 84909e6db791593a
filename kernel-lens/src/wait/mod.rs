//! What each sleeping task waits for, and who holds it: the edges of the wait graph.
//!
//! A reader of one kind of wait takes a sleeper's stack, finds the object there and shows that it is one:
//! the object's own list of waiters holds the sleeper, its owner is a task. Where no such test passes, the
//! edge says only what the frames say, and names no object and no owner.

mod bit;
mod completion;
mod flush;
mod futex;
mod list;
mod mutex;
mod noted;
mod page;
mod percpu_rwsem;
mod queue;
mod rtmutex;
mod rwsem;
mod semaphore;
mod sleeper;
#[cfg(test)]
mod test_kernel;

use vmward_kernel_facts::{WaitEdge, WaitGraph, WaitKind, WaitProof, wait_kind};

use crate::Kernel;
use crate::task::Tasks;
use sleeper::{Sleeper, StackLayout};

/// One kind of wait: gives an edge if its test passes.
type Reader = fn(&Look<'_, '_>, &Sleeper<'_>) -> Option<WaitEdge>;

/// All of them; the first that gives an edge wins.
const READERS: [Reader; 11] = [
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
    queue::read,
];

/// One look at all waits.
pub(crate) struct Look<'k, 'm> {
    kernel: &'k Kernel<'m>,
    tasks: &'k Tasks,
    stacks: StackLayout,
}

impl Look<'_, '_> {
    /// Thread id of the task at an address that may carry flags in its low bits.
    fn owner(&self, word: u64) -> Option<u32> {
        self.tasks.at(word & !7).and_then(|it| it.task.pid)
    }

    /// An edge from a sleeper to an object that passed its test.
    fn edge(
        &self,
        sleeper: &Sleeper<'_>,
        kind: WaitKind,
        object: u64,
        owners: Vec<u32>,
        proof: WaitProof,
    ) -> Option<WaitEdge> {
        let symbol = self.kernel.symbols.at(object);
        let name = symbol.map(|it| match object - it.address {
            0 => it.name.to_owned(),
            offset => format!("{}+{offset:#x}", it.name),
        });
        Some(WaitEdge {
            waiter: sleeper.task.task.pid?,
            kind,
            object: Some(object),
            object_name: name,
            owners,
            waiting_ns: sleeper.task.task.in_state.map(|it| it.ns),
            proof,
        })
    }
}

/// The wait graph of tasks whose stacks have been read ([`vmward_kernel_facts::Task::stack`]).
///
/// Tasks that only rest (for input, a timer, work) give no edge, unless another task is shown to owe it.
pub fn read_waits(kernel: &Kernel<'_>, tasks: &Tasks) -> WaitGraph {
    let look = Look { kernel, tasks, stacks: StackLayout::new(kernel) };
    let mut edges = Vec::new();
    for task in tasks.iter() {
        let Some(kind) = wait_kind(&task.task) else { continue };
        let Some(pid) = task.task.pid.filter(|pid| *pid != 0) else { continue };
        let sleeper = Sleeper::read(&look, task);
        let proved = sleeper.and_then(|it| READERS.iter().find_map(|reader| reader(&look, &it)));
        if let Some(edge) = proved {
            if !edge.kind.is_rest() || !edge.owners.is_empty() {
                edges.push(edge);
            }
        } else if !kind.is_rest() && kind != WaitKind::Stopped {
            edges.push(WaitEdge {
                waiter: pid,
                kind,
                object: None,
                object_name: None,
                owners: Vec::new(),
                waiting_ns: task.task.in_state.map(|it| it.ns),
                proof: WaitProof::Frames,
            });
        }
    }
    WaitGraph::new(edges)
}
