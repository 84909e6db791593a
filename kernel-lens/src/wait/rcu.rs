//! Tasks that wait for a grace period of RCU, and whom the grace period waits for.
//!
//! `synchronize_rcu()` sleeps on a completion that a callback completes after a grace period, which the
//! kthread `rcu_state.gp_kthread` drives; it waits for CPUs to pass through a quiescent state and for
//! preempted readers ([`crate::machine::rcu`]). An expedited one is waited for on queues inside of
//! `rcu_state` itself.

use vmward_kernel_facts::machine::Rcu;
use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, WaitTarget};

use super::Look;
use super::sleeper::Sleeper;
use crate::machine::object::Object;

/// Flavours that have grace periods of their own, driven by others.
const OTHERS: [&str; 5] =
    ["synchronize_srcu*", "__synchronize_srcu", "synchronize_rcu_tasks*", "rcu_barrier*", "srcu_*"];

/// Adds to a wait on a completion or a queue, if it is one for a grace period, who drives that.
pub(super) fn add(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, edge: &mut WaitEdge) {
    if edge.kind != WaitKind::Rcu || sleeper.is_in(&OTHERS) || !sleeper.is_in(&["synchronize_*"]) {
        return;
    }
    let Some(rcu) = look.rcu() else { return };
    let Ok(state) = Object::symbol(look.kernel, "rcu_state", "rcu_state") else { return };
    let size = look.kernel.types.size("rcu_state").unwrap_or(0);
    let inside = edge.object.and_then(|it| it.checked_sub(state.at)).is_some_and(|it| it < size);
    if inside {
        edge.owners = on_cpus(look, &rcu.expedited_cpus);
        if !edge.owners.is_empty() {
            edge.proof = WaitProof::GracePeriod;
        }
        edge.what = Some(WaitTarget::GracePeriod { expedited: true, cpus: rcu.expedited_cpus.clone() });
    } else if let Some(driver) = rcu.kthread.as_ref().map(|it| it.pid) {
        edge.owners = vec![driver];
        edge.what = Some(WaitTarget::GracePeriod { expedited: false, cpus: rcu.waiting_cpus.clone() });
    }
}

/// The edge of the kthread itself, if somebody waits for a grace period: to the tasks that hold it up.
pub(super) fn driver(look: &Look<'_, '_>, edges: &[WaitEdge]) -> Option<WaitEdge> {
    let waited_for = |it: &WaitEdge| {
        it.kind == WaitKind::Rcu && matches!(it.what, Some(WaitTarget::GracePeriod { expedited: false, .. }))
    };
    if !edges.iter().any(waited_for) {
        return None;
    }
    let rcu = look.rcu()?;
    let thread = look.tasks.by_pid(rcu.kthread.as_ref()?.pid)?;
    let owners = held_up_by(look, rcu);
    if owners.is_empty() || !rcu.in_progress {
        return None;
    }
    let sleeper = Sleeper::read(look, thread)?;
    let state = look.kernel.symbol("rcu_state")?;
    let mut edge = look.edge(&sleeper, WaitKind::Rcu, state, owners, WaitProof::GracePeriod)?;
    edge.what = Some(WaitTarget::GracePeriod { expedited: false, cpus: rcu.waiting_cpus.clone() });
    Some(edge)
}

fn held_up_by(look: &Look<'_, '_>, rcu: &Rcu) -> Vec<u32> {
    let mut owners = on_cpus(look, &rcu.waiting_cpus);
    owners.extend(rcu.waiting_tasks.iter().map(|it| it.pid));
    owners.sort_unstable();
    owners.dedup();
    let driver = rcu.kthread.as_ref().map(|it| it.pid);
    owners.retain(|it| Some(*it) != driver);
    owners
}

/// What runs on some CPUs; an idle one holds nothing up for long.
fn on_cpus(look: &Look<'_, '_>, cpus: &[u32]) -> Vec<u32> {
    let there = look.tasks.iter().filter(|it| it.task.on_cpu.is_some_and(|cpu| cpus.contains(&cpu)));
    there.filter_map(|it| it.task.pid).filter(|pid| *pid != 0).collect()
}
