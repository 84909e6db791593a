//! Who waits for whom: edges from a waiter to the tasks that have to let go, their roots and their cycles.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{WaitKind, WaitTarget};

/// Roots that are told at most: a healthy kernel has a handful, a hostile one would have us list forever.
const MAX_ROOTS: usize = 256;

/// What showed that an edge is there. A guess is no edge with owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitProof {
    /// The kernel noted in the task what it waits for (`task.blocker`, `task.blocked_on`), and the lock's
    /// own list of waiters holds the task.
    Noted,
    /// A lock whose address lies on the waiter's stack holds the waiter in its own list of waiters.
    Listed,
    /// A wait queue holds an entry of the waiter.
    Queued,
    /// The lock word in user space names its owner.
    LockWord,
    /// A readers' count says that somebody holds it, and a task's stack shows the call that took it.
    ReaderStack,
    /// A request that the disk's driver has carries the waiter's page, buffer, completion or direct I/O.
    Request,
    /// A bio whose end wakes this waiter names the disk.
    Bio,
    /// The owners are in the middle of a change that belongs to the transaction (`task.journal_info`).
    Handle,
    /// The owners have the other end open.
    OpenFile,
    /// RCU's own tree waits for the owners' CPUs, or lists the owners as readers.
    GracePeriod,
    /// The queue in the lock word leads through the waiter's CPU.
    LockQueue,
    /// The lock is taken, and of all CPUs that do not wait for it only the owner's has its address in its
    /// registers or on its stack.
    HolderStack,
    /// Only the frames on the stack say what kind of wait it is: what is waited for was not found.
    Frames,
}

/// One task that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitEdge {
    /// Thread id of the task that waits.
    pub waiter: u32,
    /// What it waits for.
    pub kind: WaitKind,
    /// Guest-virtual address of the lock, completion, page, ...; `None` where it was not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<u64>,
    /// Symbol that the object lies in, for those that are not allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_name: Option<String>,
    /// More of what it is, where that is no lock: a disk and its request, files, a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<WaitTarget>,
    /// Thread ids of the tasks that have to let go, as far as the kernel tells them. Of the ends of a pipe
    /// any one suffices, of all else all of them are needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<u32>,
    /// The CPU on which the waiter spins; `None` for one that sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spins_on: Option<u32>,
    /// The CPU that holds it, where not a task but a CPU does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by_cpu: Option<u32>,
    /// How long the waiter has been off its CPU, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_ns: Option<u64>,
    /// The test that this edge passed.
    pub proof: WaitProof,
}

impl WaitEdge {
    /// An edge of which no more is known.
    pub fn new(waiter: u32, kind: WaitKind, proof: WaitProof) -> Self {
        Self {
            waiter,
            kind,
            object: None,
            object_name: None,
            what: None,
            owners: Vec::new(),
            spins_on: None,
            held_by_cpu: None,
            waiting_ns: None,
            proof,
        }
    }
}

/// A task at which chains of waiting end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitRoot {
    /// Thread id of the task that the others wait for and that waits for none of them.
    pub task: u32,
    /// Tasks that wait for it, directly or through others, ascending.
    pub waiters: Vec<u32>,
    /// What it waits for itself, where that is no task: a disk, a page, an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitKind>,
    /// How long it has not run itself, in nanoseconds; `None` for one that runs or could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_ns: Option<u64>,
}

/// Something that is no task and has to answer or to be let go: a disk, a frozen file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitEnd {
    /// What it is.
    pub on: WaitTarget,
    /// Tasks that wait for it, directly or through others, ascending.
    pub waiters: Vec<u32>,
}

/// All edges, and what follows from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitGraph {
    /// Every edge, ascending by waiter.
    pub edges: Vec<WaitEdge>,
    /// Where chains end, the one with most waiters first.
    pub roots: Vec<WaitRoot>,
    /// Where chains end that end at no task, the one with most waiters first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<WaitEnd>,
    /// Tasks that wait for each other in a ring: none of them will ever go on by itself. Each ascending.
    pub cycles: Vec<Vec<u32>>,
}

impl WaitGraph {
    /// Finds roots, ends and cycles. An edge to itself is a cycle of one.
    ///
    /// Who waits for input rests, and any of those who have the other end may bring it. Such an edge counts
    /// only where a wait of another kind hangs together with it, and in a cycle only if there is one owner.
    pub fn new(mut edges: Vec<WaitEdge>) -> Self {
        edges.sort_by_key(|it| (it.waiter, it.object));
        let counted = counted(&edges);
        let mut forward: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut strict: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut backward: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for edge in edges.iter().zip(&counted).filter_map(|(edge, counts)| counts.then_some(edge)) {
            for owner in &edge.owners {
                forward.entry(edge.waiter).or_default().insert(*owner);
                backward.entry(*owner).or_default().insert(edge.waiter);
                if edge.kind != WaitKind::Input || edge.owners.len() == 1 {
                    strict.entry(edge.waiter).or_default().insert(*owner);
                }
            }
        }
        let mut roots: Vec<u32> = backward.keys().copied().filter(|it| !forward.contains_key(it)).collect();
        roots.sort_by_key(|it| (usize::MAX - backward.get(it).map_or(0, BTreeSet::len), *it));
        roots.truncate(MAX_ROOTS);
        let mut roots: Vec<WaitRoot> = roots
            .into_iter()
            .map(|task| WaitRoot {
                task,
                waiters: reachable(&backward, [task]),
                waits_for: edges.iter().find(|it| it.waiter == task).map(|it| it.kind),
                still_ns: None,
            })
            .collect();
        roots.sort_by_key(|it| (usize::MAX - it.waiters.len(), it.task));
        let ends = ends(&edges, &backward);
        Self { cycles: cycles(&strict), edges, roots, ends }
    }

    /// The edges of one waiter.
    pub fn of(&self, waiter: u32) -> impl Iterator<Item = &WaitEdge> {
        self.edges.iter().filter(move |it| it.waiter == waiter)
    }
}

/// Which edges count for roots and cycles. Idle tasks have no number of their own, and several of them would
/// be taken for one.
fn counted(edges: &[WaitEdge]) -> Vec<bool> {
    let mut counted: Vec<bool> =
        edges.iter().map(|it| it.kind != WaitKind::Input && it.waiter != 0).collect();
    // Edges of input, by the tasks at both ends.
    let mut input: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut reached: BTreeSet<u32> = BTreeSet::new();
    for (at, edge) in edges.iter().enumerate() {
        let ends = edge.owners.iter().copied().chain([edge.waiter]);
        if counted[at] {
            reached.extend(ends);
        } else {
            ends.for_each(|it| input.entry(it).or_default().push(at));
        }
    }
    let mut open: Vec<u32> = reached.iter().copied().collect();
    while let Some(task) = open.pop() {
        for at in input.remove(&task).unwrap_or_default() {
            counted[at] = edges[at].waiter != 0;
            let ends = edges[at].owners.iter().copied().chain([edges[at].waiter]);
            open.extend(ends.filter(|it| reached.insert(*it)));
        }
    }
    counted
}

/// What is no task and is waited for, with everybody behind.
fn ends(edges: &[WaitEdge], backward: &BTreeMap<u32, BTreeSet<u32>>) -> Vec<WaitEnd> {
    let mut found: Vec<(WaitTarget, BTreeSet<u32>)> = Vec::new();
    for edge in edges {
        let Some(on) = edge.what.as_ref().and_then(WaitTarget::end) else { continue };
        if let Some((_, direct)) = found.iter_mut().find(|it| it.0.is_same(&on)) {
            direct.insert(edge.waiter);
        } else if found.len() < MAX_ROOTS {
            found.push((on, BTreeSet::from([edge.waiter])));
        }
    }
    let mut ends: Vec<WaitEnd> = found
        .into_iter()
        .map(|(on, direct)| {
            let behind = reachable(backward, direct.iter().copied());
            let waiters = direct.into_iter().chain(behind).collect::<BTreeSet<u32>>();
            WaitEnd { on, waiters: waiters.into_iter().collect() }
        })
        .collect();
    ends.sort_by_key(|it| usize::MAX - it.waiters.len());
    ends
}

/// Everything that can be reached from some, without these unless a ring leads back to them.
fn reachable(along: &BTreeMap<u32, BTreeSet<u32>>, from: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut found = BTreeSet::new();
    let mut open: Vec<u32> = from.into_iter().collect();
    while let Some(next) = open.pop() {
        for other in along.get(&next).into_iter().flatten() {
            if found.insert(*other) {
                open.push(*other);
            }
        }
    }
    found.into_iter().collect()
}

/// Strongly connected parts of more than one task, or of one that waits for itself (Tarjan's algorithm, on
/// a stack of its own: a chain may be as long as there are tasks).
fn cycles(forward: &BTreeMap<u32, BTreeSet<u32>>) -> Vec<Vec<u32>> {
    let none = BTreeSet::new();
    let next_of = |task: u32| forward.get(&task).unwrap_or(&none);
    let mut number: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    let (mut path, mut on_path) = (Vec::new(), BTreeSet::new());
    let mut cycles = Vec::new();
    for start in forward.keys().copied() {
        if number.contains_key(&start) {
            continue;
        }
        let mut open = vec![(start, next_of(start).iter())];
        number.insert(start, (number.len(), number.len()));
        path.push(start);
        on_path.insert(start);
        while let Some((task, rest)) = open.last_mut() {
            let task = *task;
            if let Some(next) = rest.next().copied() {
                if let Some((seen, _)) = number.get(&next).copied() {
                    if on_path.contains(&next) {
                        lower(&mut number, task, seen);
                    }
                } else {
                    number.insert(next, (number.len(), number.len()));
                    path.push(next);
                    on_path.insert(next);
                    open.push((next, next_of(next).iter()));
                }
                continue;
            }
            open.pop();
            let (own, low) = number.get(&task).copied().unwrap_or_default();
            if let Some((above, _)) = open.last() {
                lower(&mut number, *above, low);
            }
            if own == low {
                let mut part = Vec::new();
                while let Some(member) = path.pop() {
                    on_path.remove(&member);
                    part.push(member);
                    if member == task {
                        break;
                    }
                }
                if part.len() > 1 || next_of(task).contains(&task) {
                    part.sort_unstable();
                    cycles.push(part);
                }
            }
        }
    }
    cycles.sort_unstable();
    cycles
}

fn lower(number: &mut BTreeMap<u32, (usize, usize)>, task: u32, to: usize) {
    if let Some((_, low)) = number.get_mut(&task) {
        *low = (*low).min(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(waiter: u32, kind: WaitKind, owners: &[u32]) -> WaitEdge {
        WaitEdge {
            object: Some(0xffff_8880_0000_1000),
            owners: owners.to_vec(),
            ..WaitEdge::new(waiter, kind, WaitProof::Listed)
        }
    }

    #[test]
    fn a_chain_ends_at_the_task_that_waits_for_the_disk() {
        let graph = WaitGraph::new(vec![
            edge(124, WaitKind::Mutex, &[120]),
            edge(123, WaitKind::Mutex, &[124]),
            edge(120, WaitKind::PageIo, &[]),
            edge(9, WaitKind::Timer, &[]),
        ]);
        let root = WaitRoot {
            task: 120,
            waiters: vec![123, 124],
            waits_for: Some(WaitKind::PageIo),
            still_ns: None,
        };
        assert_eq!(graph.roots, [root]);
        assert!(graph.cycles.is_empty());
        assert_eq!(graph.of(123).count(), 1);
    }

    #[test]
    fn two_that_wait_for_each_other_are_a_cycle_and_those_behind_them_are_not_in_it() {
        let graph = WaitGraph::new(vec![
            edge(10, WaitKind::Mutex, &[11]),
            edge(11, WaitKind::Mutex, &[10]),
            edge(12, WaitKind::Mutex, &[11]),
            edge(13, WaitKind::Rwsem, &[12, 20]),
        ]);
        assert_eq!(graph.cycles, [[10, 11]]);
        assert_eq!(graph.roots.iter().map(|it| it.task).collect::<Vec<_>>(), [20]);
    }

    #[test]
    fn a_task_that_waits_for_itself_is_a_cycle_of_one() {
        assert_eq!(WaitGraph::new(vec![edge(5, WaitKind::Mutex, &[5])]).cycles, [[5]]);
    }

    #[test]
    fn a_path_between_two_cycles_is_in_neither() {
        let pairs = [(1, 2), (2, 1), (2, 3), (3, 4), (4, 5), (5, 4)];
        let graph =
            WaitGraph::new(pairs.map(|(waiter, owner)| edge(waiter, WaitKind::Mutex, &[owner])).to_vec());
        assert_eq!(graph.cycles, [[1, 2], [4, 5]]);
    }

    #[test]
    fn ten_thousand_behind_one_lock_are_told_at_once() {
        let edges = (2..10_002).map(|waiter| edge(waiter, WaitKind::Mutex, &[waiter - 1])).collect();
        let graph = WaitGraph::new(edges);
        assert_eq!(graph.roots.len(), 1);
        assert_eq!(graph.roots[0].waiters.len(), 10_000);
    }

    #[test]
    fn everybody_behind_a_disk_waits_for_it() {
        let mut reader = edge(120, WaitKind::PageIo, &[]);
        reader.what = Some(WaitTarget::Disk { name: "vdb".into(), request: None, in_flight: 1 });
        let graph = WaitGraph::new(vec![edge(124, WaitKind::Mutex, &[120]), reader]);
        let [end] = graph.ends.as_slice() else { panic!("{graph:?}") };
        assert_eq!(end.waiters, [120, 124]);
    }

    #[test]
    fn who_waits_for_input_is_no_root_unless_somebody_waits_for_him_in_earnest() {
        let resting = vec![edge(10, WaitKind::Input, &[11]), edge(11, WaitKind::Input, &[10])];
        let graph = WaitGraph::new(resting.clone());
        assert!(graph.roots.is_empty() && graph.cycles.is_empty());
        assert_eq!(graph.edges.len(), 2);
        let behind = [resting, vec![edge(12, WaitKind::Mutex, &[10])]].concat();
        assert_eq!(WaitGraph::new(behind).cycles, [[10, 11]]);
        // Somebody else may write to it.
        let others = vec![
            edge(10, WaitKind::Input, &[11, 13]),
            edge(11, WaitKind::Input, &[10]),
            edge(12, WaitKind::Mutex, &[10]),
        ];
        let graph = WaitGraph::new(others);
        assert!(graph.cycles.is_empty());
        assert_eq!(graph.roots.iter().map(|it| it.task).collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn idle_tasks_that_spin_are_not_taken_for_one() {
        assert!(WaitGraph::new(vec![edge(0, WaitKind::Spinlock, &[0])]).cycles.is_empty());
    }
}
