//! Who waits for whom: rings first, then what most tasks wait for.

use std::collections::{BTreeMap, BTreeSet};

use vmward_kernel_facts::{Task, TaskState, WaitEdge, WaitGraph, WaitKind, WaitTarget};

use super::{age, section as make};
use crate::chart::{Chart, Lens};
use crate::document::{Block, Section};
use crate::escape::Text;
use crate::value::{Tone, Value};
use crate::wait_map::{Role, WaitMap, Waiter};

/// Rows drawn.
const MAX_ROWS: usize = 40;
/// Rows drawn below one.
const MAX_CHILDREN: usize = 12;
/// Rows of the table.
const MAX_TABLE: usize = 400;
/// Edges looked at: a report may be a foreign one.
const MAX_EDGES: usize = 50_000;
/// Sentences before the drawing.
const MAX_SENTENCES: usize = 6;

pub(super) fn section(chart: &Chart<'_>) -> Section {
    let Some(lens) = &chart.lens else { return make("waits", "Who waits for whom", Vec::new()) };
    let names = Names::of(chart);
    let mut blocks = Vec::new();
    if lens.waits.edges.is_empty() {
        blocks.push(Block::Para("No task waits for a lock, a disk or a file system.".into()));
    } else {
        let (rows, left_out) = Forest::of(lens, &names).grow();
        let sentences = sentences(lens.waits, &names);
        let map = WaitMap {
            summary: Text::new(sentences.join(" ")),
            table: table(lens.waits, &names),
            left_out,
            rows,
        };
        if !sentences.is_empty() {
            blocks.push(Block::Items(sentences.iter().map(Text::new).collect()));
        }
        blocks.push(Block::Waits(map));
    }
    make("waits", "Who waits for whom", blocks)
}

/// Tasks by their thread ids.
struct Names<'a>(BTreeMap<u32, &'a Task>);

impl<'a> Names<'a> {
    fn of(chart: &Chart<'a>) -> Names<'a> {
        let listed = chart.tasks.into_iter().chain(chart.blocked).flatten();
        Names(listed.filter_map(|it| Some((it.pid?, it))).collect())
    }

    fn name(&self, pid: u32) -> String {
        match self.0.get(&pid) {
            Some(it) => format!("{} (pid {pid})", it.comm),
            None => format!("pid {pid}"),
        }
    }

    fn names(&self, pids: &[u32], most: usize) -> String {
        let mut text = pids.iter().take(most).map(|it| self.name(*it)).collect::<Vec<_>>().join(", ");
        if pids.len() > most {
            text.push_str(&format!(" and {} more", pids.len() - most));
        }
        text
    }

    /// What is said of a task beside its name.
    fn note(&self, pid: u32) -> String {
        let Some(task) = self.0.get(&pid) else { return "not among the tasks".to_owned() };
        let state = match (task.state, task.on_cpu) {
            (Some(TaskState::R), Some(cpu)) => format!("runs on CPU {cpu}"),
            (Some(TaskState::R), None) => "wants to run".to_owned(),
            (Some(state), _) => state.name().to_owned(),
            (None, _) => return String::new(),
        };
        match task.in_state {
            Some(it) => format!("{state}, {}", age(it.ns / 1_000_000)),
            None => state,
        }
    }
}

fn sentences(waits: &WaitGraph, names: &Names<'_>) -> Vec<String> {
    let count = |n: usize| if n == 1 { "1 task waits".to_owned() } else { format!("{n} tasks wait") };
    let rings = waits.cycles.iter().take(MAX_SENTENCES).map(|ring| match ring[..] {
        [one] => format!("{} waits for itself and will never go on.", names.name(one)),
        _ => format!("{} wait for each other and will never go on.", names.names(ring, 6)),
    });
    let roots = waits.roots.iter().take(MAX_SENTENCES).map(|root| {
        let does = match root.waits_for {
            Some(kind) => format!("waits for {}", kind.words()),
            None => format!("is: {}", names.note(root.task)),
        };
        format!("{} for {}, which {does}.", count(root.waiters.len()), names.name(root.task))
    });
    rings.chain(roots).take(MAX_SENTENCES).collect()
}

fn table(waits: &WaitGraph, names: &Names<'_>) -> Vec<Vec<Value>> {
    let mut edges: Vec<&WaitEdge> = waits.edges.iter().take(MAX_EDGES).collect();
    edges.sort_by_key(|it| std::cmp::Reverse(it.waiting_ns));
    let row = |it: &&WaitEdge| {
        vec![
            Value::from(names.name(it.waiter)),
            Value::from(it.kind.words()),
            Value::code(object(it)),
            Value::from(names.names(&it.owners, 8)),
            Value::number(it.waiting_ns.map_or_else(String::new, |ns| age(ns / 1_000_000))),
            if it.proof.is_shown() {
                Value::from(it.proof.short())
            } else {
                Value::badge(it.proof.short(), Tone::Warn)
            },
        ]
    };
    edges.iter().take(MAX_TABLE).map(row).collect()
}

fn object(edge: &WaitEdge) -> String {
    if let Some(it) = edge.what.as_ref().and_then(WaitTarget::words) {
        return it.chars().take(60).collect();
    }
    match (&edge.object_name, edge.object) {
        (Some(name), _) => name.clone(),
        (None, Some(at)) => format!("{at:#x}"),
        (None, None) => String::new(),
    }
}

/// What stands above others: a task, or what they wait for where that is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Task(u32),
    /// By its words, which tell kinds apart, and its address.
    Thing(&'static str, Option<u64>),
}

/// What an edge leads to. Who waits for several holders stands under the first.
fn above(edge: &WaitEdge) -> Node {
    match edge.owners.first() {
        Some(owner) => Node::Task(*owner),
        None => Node::Thing(edge.kind.words(), edge.object),
    }
}

/// The graph as trees: what is waited for, and below it those that wait.
struct Forest<'a> {
    lens: &'a Lens<'a>,
    names: &'a Names<'a>,
    edge_of: BTreeMap<u32, &'a WaitEdge>,
    below: BTreeMap<Node, Vec<u32>>,
    /// Each ring in the order in which its tasks wait, each for the next one.
    rings: Vec<Vec<u32>>,
    rows: Vec<Waiter>,
}

/// What is planted next.
enum Step {
    Row(Node, Option<usize>),
    More(usize, usize),
}

impl<'a> Forest<'a> {
    fn of(lens: &'a Lens<'a>, names: &'a Names<'a>) -> Forest<'a> {
        let mut edge_of: BTreeMap<u32, &WaitEdge> = BTreeMap::new();
        for it in lens.waits.edges.iter().take(MAX_EDGES) {
            edge_of.entry(it.waiter).or_insert(it);
        }
        let mut below: BTreeMap<Node, Vec<u32>> = BTreeMap::new();
        for edge in edge_of.values() {
            below.entry(above(edge)).or_default().push(edge.waiter);
        }
        for waiters in below.values_mut() {
            waiters.sort_by_key(|it| std::cmp::Reverse(edge_of.get(it).and_then(|edge| edge.waiting_ns)));
        }
        let rings = rings(&edge_of);
        Forest { lens, names, edge_of, below, rings, rows: Vec::new() }
    }

    /// The rows, rings first, then the tops with most below them; and how many waits they leave out.
    fn grow(mut self) -> (Vec<Waiter>, usize) {
        let mut tops: Vec<Node> =
            self.rings.iter().filter_map(|it| it.first().copied().map(Node::Task)).collect();
        let mut others: Vec<(usize, Node)> = Vec::new();
        for node in self.below.keys() {
            if !matches!(node, Node::Task(pid) if self.edge_of.contains_key(pid)) {
                others.push((self.size(node), node.clone()));
            }
        }
        others.sort_by_key(|it| usize::MAX - it.0);
        tops.extend(others.into_iter().map(|it| it.1));
        for top in tops {
            self.plant(top);
        }
        let drawn = self.rows.iter().filter(|it| !it.wait.is_empty()).count();
        let left_out = self.edge_of.len().saturating_sub(drawn);
        (self.rows, left_out)
    }

    /// Everybody below a node.
    fn size(&self, top: &Node) -> usize {
        let mut open = vec![top.clone()];
        let mut seen = BTreeSet::new();
        while let Some(node) = open.pop() {
            for it in self.below.get(&node).into_iter().flatten() {
                if seen.insert(*it) {
                    open.push(Node::Task(*it));
                }
            }
        }
        seen.len()
    }

    /// One tree, as far as there is room.
    fn plant(&mut self, top: Node) {
        let ring: Vec<u32> = match &top {
            Node::Task(pid) => self.rings.iter().find(|it| it.first() == Some(pid)).cloned(),
            Node::Thing(..) => None,
        }
        .unwrap_or_default();
        let mut at: BTreeMap<u32, usize> = BTreeMap::new();
        let mut open = vec![Step::Row(top, None)];
        while let Some(step) = open.pop() {
            if self.rows.len() >= MAX_ROWS {
                break;
            }
            let own = self.rows.len();
            let (node, parent) = match step {
                Step::Row(node, parent) => (node, parent),
                Step::More(count, parent) => {
                    self.rows.push(more(count, parent));
                    continue;
                }
            };
            if let Node::Task(pid) = node {
                at.insert(pid, own);
            }
            self.rows.push(self.row(&node, parent, &ring));
            let mut children: Vec<u32> = self.below.get(&node).cloned().unwrap_or_default();
            // The ring closes here: its first one is the top.
            children.retain(|it| !at.contains_key(it));
            children.sort_by_key(|it| !ring.contains(it));
            let rest = children.split_off(children.len().min(MAX_CHILDREN));
            if !rest.is_empty() {
                open.push(Step::More(rest.len(), own));
            }
            open.extend(children.into_iter().rev().map(|it| Step::Row(Node::Task(it), Some(own))));
        }
        // The first one waits for the second, or for itself.
        let ends = ring.first().zip(ring.get(1).or(ring.first()));
        if let Some((from, to)) = ends.and_then(|(from, to)| at.get(from).zip(at.get(to)))
            && let Some(row) = self.rows.get_mut(*from)
        {
            row.closes = Some(*to);
        }
    }

    fn row(&self, node: &Node, parent: Option<usize>, ring: &[u32]) -> Waiter {
        match node {
            Node::Thing(words, at) => {
                let what =
                    self.below.get(node).and_then(|it| self.edge_of.get(it.first()?)?.what.as_ref()?.words());
                let place = what.map(|it| format!(" ({it})"));
                let place = place.or_else(|| at.map(|it| format!(" at {it:#x}"))).unwrap_or_default();
                Waiter {
                    name: Text::new(format!("{words}{place}")),
                    note: Text::new(self.behind(words)),
                    wait: Text::default(),
                    shown: true,
                    role: Role::Thing,
                    parent,
                    closes: None,
                }
            }
            Node::Task(pid) => {
                let edge = self.edge_of.get(pid);
                let is_waited_for = self.below.contains_key(node);
                let role = match edge {
                    _ if ring.contains(pid) => Role::Ring,
                    Some(it) if !it.owners.is_empty() => Role::Task,
                    _ if is_waited_for => Role::Root,
                    _ => Role::Task,
                };
                Waiter {
                    name: Text::new(self.names.name(*pid)),
                    note: Text::new(self.names.note(*pid)),
                    wait: edge.map_or_else(Text::default, |it| Text::new(label(it))),
                    shown: edge.is_none_or(|it| it.proof.is_shown()),
                    role,
                    parent,
                    closes: None,
                }
            }
        }
    }

    /// What is known of what is behind a thing that tasks wait for.
    fn behind(&self, words: &str) -> String {
        let machine = self.lens.machine;
        if words == WaitKind::FsFreeze.words() {
            let frozen = machine.mounts.iter().flat_map(|mounts| {
                mounts.frozen().map(|it| {
                    let mount = mounts.mounts.iter().find(|mount| mount.super_block == it.address);
                    mount.map_or(it.id.as_str(), |mount| mount.path.as_str())
                })
            });
            return frozen.take(3).collect::<Vec<_>>().join(", ");
        }
        let is_io =
            [WaitKind::PageIo, WaitKind::BlockIo, WaitKind::Journal].iter().any(|it| it.words() == words);
        let disks = machine.disks.as_deref().unwrap_or_default();
        let owed = disks.iter().filter(|_| is_io).filter_map(|disk| {
            let oldest = disk.in_flight.iter().filter(|it| !it.completed).filter_map(|it| it.age_ms).max()?;
            let many = disk.in_flight.len();
            let requests =
                if many == 1 { "1 request".to_owned() } else { format!("{many} requests, the oldest") };
            Some(format!("disk {} owes {requests} for {}", disk.name, age(oldest)))
        });
        owed.take(3).collect::<Vec<_>>().join("; ")
    }
}

fn more(count: usize, parent: usize) -> Waiter {
    Waiter {
        name: Text::new(format!("{count} more")),
        note: Text::default(),
        wait: Text::default(),
        shown: true,
        role: Role::More,
        parent: Some(parent),
        closes: None,
    }
}

/// What is written at an arrow: what is waited for, how long, and what shows it.
fn label(edge: &WaitEdge) -> String {
    let mut parts = vec![edge.kind.words().to_owned()];
    if !edge.owners.is_empty() && edge.object.is_some() {
        parts = vec![format!("{} {}", edge.kind.words(), object(edge))];
    }
    if let Some(ns) = edge.waiting_ns {
        parts.push(age(ns / 1_000_000));
    }
    parts.push(edge.proof.short().to_owned());
    match edge.owners.len() {
        0 | 1 => {}
        n => parts.push(format!("one of {n} holders")),
    }
    parts.join(" \u{b7} ")
}

/// Rings of first owners, each once, in the order in which their tasks wait. Every task leads to at most one
/// other, so that a walk from each meets every ring.
fn rings(edge_of: &BTreeMap<u32, &WaitEdge>) -> Vec<Vec<u32>> {
    let mut known: BTreeSet<u32> = BTreeSet::new();
    let mut rings = Vec::new();
    for start in edge_of.keys() {
        let mut path: Vec<u32> = Vec::new();
        let mut on_path = BTreeSet::new();
        let mut next = Some(*start);
        while let Some(pid) = next.filter(|it| !known.contains(it)) {
            if !on_path.insert(pid) {
                let begin = path.iter().position(|it| *it == pid).unwrap_or(0);
                rings.push(path.split_off(begin));
                known.extend(rings.last().into_iter().flatten());
                break;
            }
            path.push(pid);
            next = edge_of.get(&pid).and_then(|it| it.owners.first().copied());
        }
        known.extend(path);
    }
    rings.sort_by_key(|it| usize::MAX - it.len());
    rings
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmward_kernel_facts::{ExaminationCost, FoundBy, KernelIdentity, Machine, WaitProof};

    fn edge(waiter: u32, owners: &[u32]) -> WaitEdge {
        let kind = if owners.is_empty() { WaitKind::PageIo } else { WaitKind::Mutex };
        WaitEdge {
            object: Some(0xffff_8880_0000_1000),
            owners: owners.to_vec(),
            waiting_ns: Some(2_200_000_000 + u64::from(waiter)),
            ..WaitEdge::new(waiter, kind, WaitProof::Listed)
        }
    }

    fn grown(edges: Vec<WaitEdge>) -> (Vec<Waiter>, usize) {
        let waits = WaitGraph::new(edges);
        let kernel = KernelIdentity {
            banner: String::new(),
            arch: String::new(),
            image_virt: 0,
            image_phys: 0,
            symbols: 0,
            types: 0,
            unwinder: String::new(),
            found_by: FoundBy::Scan,
        };
        let machine = Machine::default();
        let lens = Lens {
            kernel: &kernel,
            waits: &waits,
            machine: &machine,
            problems: &[],
            cost: ExaminationCost::default(),
        };
        Forest::of(&lens, &Names(BTreeMap::new())).grow()
    }

    fn told(rows: &[Waiter]) -> Vec<(&str, Role, Option<usize>)> {
        rows.iter().map(|it| (it.name.as_str(), it.role, it.parent)).collect()
    }

    #[test]
    fn a_chain_stands_under_what_its_root_waits_for() {
        let (rows, left_out) = grown(vec![edge(92, &[96]), edge(93, &[96]), edge(96, &[])]);
        let want = [
            ("a page of a file at 0xffff888000001000", Role::Thing, None),
            ("pid 96", Role::Root, Some(0)),
            ("pid 93", Role::Task, Some(1)),
            ("pid 92", Role::Task, Some(1)),
        ];
        assert_eq!(told(&rows), want);
        assert_eq!(rows[3].wait.as_str(), "a mutex 0xffff888000001000 \u{b7} 2.2 s \u{b7} listed");
        assert_eq!(left_out, 0);
    }

    #[test]
    fn a_ring_is_closed_by_its_first_and_comes_before_all_else() {
        let (rows, _) =
            grown(vec![edge(5, &[6]), edge(6, &[7]), edge(7, &[5]), edge(8, &[6]), edge(1, &[2])]);
        let want = [
            ("pid 5", Role::Ring, None),
            ("pid 7", Role::Ring, Some(0)),
            ("pid 6", Role::Ring, Some(1)),
            ("pid 8", Role::Task, Some(2)),
            ("pid 2", Role::Root, None),
            ("pid 1", Role::Task, Some(4)),
        ];
        assert_eq!(told(&rows), want);
        // 5 waits for 6.
        assert_eq!(rows[0].closes, Some(2));
        let (own, _) = grown(vec![edge(5, &[5])]);
        assert_eq!((own.len(), own[0].closes), (1, Some(0)));
    }

    #[test]
    fn of_thousands_the_first_forty_are_drawn_and_the_rest_counted() {
        let (rows, left_out) = grown((2..5_002).map(|it| edge(it, &[1])).collect());
        assert_eq!((rows.len(), left_out), (MAX_CHILDREN + 2, 5_000 - MAX_CHILDREN));
        assert_eq!(rows.last().map(|it| it.name.as_str()), Some("4988 more"));
        let (rows, left_out) = grown((2..5_002).map(|it| edge(it, &[it - 1])).collect());
        assert_eq!((rows.len(), left_out), (MAX_ROWS, 5_000 - MAX_ROWS + 1));
    }
}
