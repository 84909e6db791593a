//! The wait graph of a guest is what a module and a program of ours in that guest say that it is: no edge is
//! missing, none is too many.
//!
//! The module is built against the kernel's pinned headers (as the one of the fault `abba`), and holds and
//! waits for one of each kind: `qemu-fixtures/waits/`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use vmward_kernel_facts::{Examination, WaitEdge, WaitProof, WaitTarget};
use vmward_kernel_lens::{Options, Recorder, examine};
use vmward_qemu_fixtures::fault::Waits;
use vmward_tests::lens::Pictured;

/// An edge as both sides tell it: kind, waiter, owners.
type Edge = (String, u32, Vec<u32>);

/// What the guest told of itself.
#[derive(Debug, Default)]
struct Truth {
    tasks: BTreeMap<u32, String>,
    /// With the object, where it has an address that the guest knows.
    edges: BTreeMap<Edge, Option<u64>>,
    files: BTreeMap<u32, Vec<i32>>,
    /// Who holds the grace period up that a task waits for.
    holds_up: Vec<u32>,
    /// CPUs in the order in which they began to want the spinlock.
    order: Vec<u32>,
}

fn numbers<T: std::str::FromStr>(text: &str) -> Result<Vec<T>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    text.split(',').map(|it| it.parse().ok().with_context(|| format!("no number in {text:?}"))).collect()
}

impl Truth {
    fn of(guest: &Pictured, grace_periods: u32) -> Result<Self> {
        let lines = guest.image().meta().proof["facts"].as_array().context("no lines")?.clone();
        let mut truth = Self::default();
        for line in lines.iter().filter_map(|it| it.as_str()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["task", pid, name] => drop(truth.tasks.insert(pid.parse()?, (*name).to_owned())),
                ["edge", kind, waiter, object, owners] => {
                    let owners = match *owners {
                        "gp" => vec![grace_periods],
                        owners => numbers(owners)?,
                    };
                    let object = u64::from_str_radix(object.trim_start_matches("0x"), 16)?;
                    let edge = ((*kind).to_owned(), waiter.parse()?, owners);
                    truth.edges.insert(edge, Some(object).filter(|it| *it != 0));
                }
                ["files", pid, fds] => drop(truth.files.insert(pid.parse()?, numbers(fds)?)),
                ["hold", "gp", pid] => truth.holds_up.push(pid.parse()?),
                ["order", cpus] => truth.order = numbers(cpus)?,
                ["waiters", "are", "there"] => {}
                _ => bail!("the guest said {line:?}"),
            }
        }
        Ok(truth)
    }
}

fn word(edge: &WaitEdge) -> Result<String> {
    Ok(serde_json::to_value(edge.kind)?.as_str().context("no word")?.to_owned())
}

fn told(edge: &WaitEdge) -> Result<Edge> {
    let mut owners = edge.owners.clone();
    owners.sort_unstable();
    Ok((word(edge)?, edge.waiter, owners))
}

fn look(guest: &Pictured) -> Result<Examination> {
    let recorder = Recorder::new(guest.memory());
    Ok(examine(&recorder, guest.cpus(), Options::default())?)
}

fn edges_are_those_of_the_module_and_the_program(waits: &Waits) -> Result<(Truth, Examination)> {
    let guest = Pictured::of_made(waits, "amd64-6.1")?;
    let found = look(&guest)?;
    let rcu = found.machine.rcu.as_ref().and_then(|it| it.kthread.as_ref()).context("no RCU kthread")?.pid;
    let truth = Truth::of(&guest, rcu)?;
    ensure!(truth.edges.len() == 28, "the guest told little: {truth:?}");

    let ours: Vec<&WaitEdge> =
        found.waits.edges.iter().filter(|it| truth.tasks.contains_key(&it.waiter)).collect();
    let all: BTreeSet<Edge> = ours.iter().map(|it| told(it)).collect::<Result<_>>()?;
    let want: BTreeSet<Edge> = truth.edges.keys().cloned().collect();
    let name = |it: &&Edge| format!("{} {it:?}", truth.tasks[&it.1]);
    let missing: Vec<String> = want.difference(&all).collect::<Vec<_>>().iter().map(name).collect();
    let extra: Vec<String> = all.difference(&want).collect::<Vec<_>>().iter().map(name).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\ntoo many: {extra:#?}");
    ensure!(ours.len() == want.len(), "an edge is told twice: {ours:#?}");
    for edge in &ours {
        ensure!(edge.proof != WaitProof::Frames, "{edge:?}");
        if let Some(object) = truth.edges[&told(edge)?] {
            ensure!(edge.object == Some(object), "{object:#x}: {edge:?}");
        }
        if let Some(fds) = truth.files.get(&edge.waiter) {
            let Some(WaitTarget::Files { files, count }) = &edge.what else { bail!("{edge:?}") };
            let mut got: Vec<i32> = files.iter().filter_map(|it| it.fd).collect();
            got.sort_unstable();
            ensure!(&got == fds && *count == fds.len() as u64, "{fds:?}: {edge:?}");
        }
        if edge.spins_on.is_none() {
            ensure!(edge.waiting_ns.is_some(), "since when? {edge:?}");
        }
    }
    ensure!(found.waits.cycles.is_empty(), "{:?}", found.waits.cycles);
    let driver = found.waits.of(rcu).next().context("nobody holds the grace period up")?;
    ensure!(driver.owners == truth.holds_up, "{driver:?} {:?}", truth.holds_up);
    Ok((truth, found))
}

/// CPUs of the queue of those who spin.
fn queues(found: &Examination) -> Vec<&[u32]> {
    let cpus = |it: &WaitEdge| matches!(it.what, Some(WaitTarget::Queue { .. }));
    let edges = found.waits.edges.iter().filter(|it| cpus(it));
    edges
        .filter_map(|it| match &it.what {
            Some(WaitTarget::Queue { cpus }) => Some(cpus.as_slice()),
            _ => None,
        })
        .collect()
}

#[test]
fn edges_are_those_that_a_module_and_a_program_made() -> Result<()> {
    let (truth, found) = edges_are_those_of_the_module_and_the_program(&Waits { bare: false })?;
    // On a hypervisor there is no queue: every CPU that spins has the same chance.
    for queue in queues(&found) {
        let mut queue = queue.to_vec();
        queue.sort_unstable();
        let mut all = truth.order.clone();
        all.sort_unstable();
        ensure!(queue == all, "{queue:?} {all:?}");
    }
    Ok(())
}

#[test]
fn cpus_that_spin_are_told_in_the_order_of_their_queue() -> Result<()> {
    let (truth, found) = edges_are_those_of_the_module_and_the_program(&Waits { bare: true })?;
    let queues = queues(&found);
    ensure!(queues.len() == truth.order.len(), "{queues:?}");
    for queue in queues {
        ensure!(queue == truth.order, "{queue:?} {:?}", truth.order);
    }
    Ok(())
}
