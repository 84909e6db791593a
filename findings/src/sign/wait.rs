//! Who waits for whom, as the guest's memory tells it.

use std::collections::{BTreeMap, BTreeSet};

use vmward_kernel_facts::{Task, TaskState, WaitEdge, WaitGraph, WaitKind, WaitTarget, wait_kind};

use super::age;
use crate::{Case, Look};

/// Where evidence of a look at memory comes from.
pub(crate) const SOURCE: &str = "capture:memory";

/// Why a rule that needs a look at memory cannot tell.
pub(crate) const NOT_READ: &str = "the guest's memory was not read";

/// A wait is a sign from here on, in nanoseconds, if something is wrong already. A kernel's clock stands
/// still while all its CPUs idle, so that the age it tells is often too small.
const LONG_NS: u64 = 500_000_000;

/// The same for a guest in which somebody only takes a look.
const LONG_ON_DEMAND_NS: u64 = 10_000_000_000;

/// Edges that are looked at: a case may be a foreign one.
const MAX_EDGES: usize = 50_000;

/// How long a wait must have lasted before it is a sign, in nanoseconds.
pub(crate) fn long_ns(case: &Case) -> u64 {
    if case.is_on_demand() { LONG_ON_DEMAND_NS } else { LONG_NS }
}

/// The same in milliseconds.
pub(crate) fn long_ms(case: &Case) -> u64 {
    long_ns(case) / 1_000_000
}

/// The waits of a look.
pub(crate) struct Waits<'a> {
    /// Waits for another task that last long, and of which more than a stack tells. Roots and cycles are
    /// made anew from these.
    pub shown: WaitGraph,
    /// Every edge.
    pub all: &'a WaitGraph,
    tasks: BTreeMap<u32, &'a Task>,
    long_ns: u64,
}

impl<'a> Waits<'a> {
    /// `None` where memory was not read.
    pub(crate) fn of(case: &'a Case) -> Option<Waits<'a>> {
        let look: &Look = case.kernel.look.as_ref()?;
        let listed = case.kernel.tasks.iter().chain(&case.kernel.blocked).flatten();
        let tasks = listed.filter_map(|it| Some((it.pid?, it))).collect();
        let long_ns = long_ns(case);
        let is_shown = |it: &&WaitEdge| {
            it.proof.is_shown() && !it.owners.is_empty() && it.waiting_ns.is_some_and(|ns| ns >= long_ns)
        };
        // A child that its parent waits for, or the other end of a pipe, is in nobody's way. Whoever holds up
        // a grace period is told by a rule of its own.
        let accuses =
            |it: &&WaitEdge| (!it.kind.is_rest() || it.kind == WaitKind::Futex) && it.kind != WaitKind::Rcu;
        let edges = look.waits.edges.iter().take(MAX_EDGES);
        let shown = edges.filter(is_shown).filter(accuses).cloned().collect();
        Some(Waits { shown: WaitGraph::new(shown), all: &look.waits, tasks, long_ns })
    }

    /// A task by its thread id.
    pub(crate) fn task(&self, pid: u32) -> Option<&'a Task> {
        self.tasks.get(&pid).copied()
    }

    /// `lock-holder (pid 96)`.
    pub(crate) fn name(&self, pid: u32) -> String {
        match self.task(pid) {
            Some(task) => format!("{} (pid {pid})", task.comm),
            None => format!("pid {pid}"),
        }
    }

    /// `a (pid 1), b (pid 2) and 3 more`.
    pub(crate) fn names(&self, pids: &[u32]) -> String {
        let mut text = pids.iter().take(4).map(|it| self.name(*it)).collect::<Vec<_>>().join(", ");
        if pids.len() > 4 {
            text.push_str(&format!(" and {} more", pids.len() - 4));
        }
        text
    }

    /// An edge in a sentence, with what shows it.
    pub(crate) fn sentence(&self, edge: &WaitEdge) -> String {
        let mut text = format!("{} waits for {}", self.name(edge.waiter), edge.kind.words());
        match (&edge.object_name, edge.object) {
            (Some(name), _) => text.push_str(&format!(" ({name})")),
            (None, Some(at)) => text.push_str(&format!(" at {at:#x}")),
            (None, None) => {}
        }
        if let Some(it) = edge.what.as_ref().and_then(WaitTarget::words) {
            text.push_str(&format!(", {it},"));
        }
        if !edge.owners.is_empty() {
            text.push_str(&format!(" held by {}", self.names(&edge.owners)));
        }
        if let Some(ns) = edge.waiting_ns {
            text.push_str(&format!(", for {}", age(ns / 1_000_000)));
        }
        format!("{text}: {}", edge.proof.words())
    }

    /// What a task waits for, with the edge that says so where there is one.
    pub(crate) fn own(&self, pid: u32) -> (Option<WaitKind>, Option<&'a WaitEdge>) {
        let edge = self.all.of(pid).next();
        (edge.map(|it| it.kind).or_else(|| self.task(pid).and_then(wait_kind)), edge)
    }

    /// What a task does that others wait for.
    pub(crate) fn does(&self, pid: u32) -> String {
        let Some(task) = self.task(pid) else { return "is not among the tasks".to_owned() };
        match (task.state, task.on_cpu, self.own(pid).0) {
            (Some(TaskState::R), Some(cpu), _) => format!("runs on CPU {cpu}"),
            (Some(TaskState::R), None, _) => "could run and gets no CPU".to_owned(),
            (Some(TaskState::Z | TaskState::X), ..) => "is dead".to_owned(),
            (Some(TaskState::T | TaskState::Traced), ..) => "was stopped".to_owned(),
            (.., Some(kind)) => {
                let what = self.own(pid).1.and_then(|it| it.what.as_ref()?.words());
                let what = what.map_or_else(String::new, |it| format!(" ({it})"));
                format!("waits for {}{what}", kind.words())
            }
            _ => match (&task.wchan, task.wait_channel()) {
                (Some(name), _) => format!("sleeps in {name}"),
                (None, Some(frame)) => format!("sleeps in {}", frame.name()),
                (None, None) => "sleeps".to_owned(),
            },
        }
    }

    /// How long a task has been where it is, in milliseconds.
    pub(crate) fn since_ms(&self, pid: u32) -> Option<u64> {
        let edge = self.all.of(pid).next().and_then(|it| it.waiting_ns);
        Some(edge.or_else(|| Some(self.task(pid)?.in_state?.ns))? / 1_000_000)
    }

    /// Whether a task sleeps and has slept for long: it will not let go on its own soon. One that is dead
    /// or stopped will not either.
    pub(crate) fn stands(&self, pid: u32) -> bool {
        match self.task(pid).and_then(|it| it.state) {
            Some(TaskState::R) | None => false,
            Some(TaskState::Z | TaskState::X | TaskState::T | TaskState::Traced) => true,
            Some(_) => self.since_ms(pid).is_some_and(|it| it >= self.long_ns / 1_000_000),
        }
    }

    /// Long waits of a kind that is no other task's, shown by more than a stack, longest first.
    pub(crate) fn waiting(&self, wanted: impl Fn(WaitKind) -> bool) -> Vec<&'a WaitEdge> {
        let long = |it: &&WaitEdge| it.waiting_ns.is_some_and(|ns| ns >= self.long_ns);
        let edges = self.all.edges.iter().take(MAX_EDGES);
        let mut found: Vec<_> =
            edges.filter(|it| it.proof.is_shown() && wanted(it.kind)).filter(long).collect();
        found.sort_by_key(|it| std::cmp::Reverse(it.waiting_ns));
        found
    }

    /// Everybody who waits for one of these, directly or through others, without themselves.
    pub(crate) fn behind(&self, ring: &[u32]) -> BTreeSet<u32> {
        let mut behind: BTreeSet<u32> = BTreeSet::new();
        let mut backward: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for edge in &self.shown.edges {
            for owner in &edge.owners {
                backward.entry(*owner).or_default().push(edge.waiter);
            }
        }
        let mut open = ring.to_vec();
        while let Some(next) = open.pop() {
            for it in backward.remove(&next).into_iter().flatten() {
                if !ring.contains(&it) && behind.insert(it) {
                    open.push(it);
                }
            }
        }
        behind
    }
}
