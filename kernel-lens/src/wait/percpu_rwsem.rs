//! Tasks that wait for a per-CPU read-write semaphore, such as a frozen file system's.
//!
//! `struct percpu_rw_semaphore` (`include/linux/percpu-rwsem.h`), since commit 7f26482a872c (v5.7): while
//! `block` is set, a writer has it or is about to. It does not say who that is: of a frozen file system
//! nobody is. Readers are only counted, by CPU.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::list::nodes;
use super::sleeper::Sleeper;
use super::{Look, freeze, holders};
use crate::machine::object::Object;

/// The kinds of wait for one.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    queued(look, sleeper).or_else(|| drains(look, sleeper))
}

/// Readers and writers behind a writer: in its queue, by a wake function that nothing else has.
fn queued(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    let kernel = look.kernel;
    let wake = kernel.symbol("percpu_rwsem_wake_function")?;
    let func = kernel.offset("wait_queue_entry", "func")?;
    let private = kernel.offset("wait_queue_entry", "private")?;
    let node = kernel.offset("wait_queue_entry", "entry")?;
    let head = kernel.offset("percpu_rw_semaphore", "waiters.head")?;
    let members = ["func", "private"];
    for entry in sleeper.entries(look, "wait_queue_entry", members, "percpu_rwsem_wake_function") {
        let others = nodes(&kernel.space, entry.wrapping_add(node)).unwrap_or_default();
        // Every node but the head has the wake function at its place.
        let of_entry =
            |it: u64, offset: u64| kernel.space.u64(it.wrapping_sub(node).wrapping_add(offset)).ok();
        let is_entry = |it: &u64| of_entry(*it, func) == Some(wake);
        let Some(object) = others.iter().find(|it| !is_entry(it)).and_then(|it| it.checked_sub(head)) else {
            continue;
        };
        let mut edge = look.edge(sleeper, WaitKind::PercpuRwsem, object, Vec::new(), WaitProof::Queued)?;
        freeze::add(look, sleeper, &mut edge);
        let blocked = Object::new(kernel, "percpu_rw_semaphore", object).small("block").ok() == Some(1);
        if edge.kind == WaitKind::PercpuRwsem && blocked {
            let mut waiters = vec![sleeper.task.address];
            waiters.extend(others.iter().filter(|it| is_entry(it)).filter_map(|it| of_entry(*it, private)));
            // One writer has it, and nobody else has anything to do with it.
            if let [(_, pid)] = holders::by_stack(look, object, &waiters).as_slice() {
                edge.owners = vec![*pid];
                edge.proof = WaitProof::HolderStack;
            }
        }
        return Some(edge);
    }
    None
}

/// A writer that has it and waits until the last reader is out: noted as the one to wake (`writer`, a
/// `struct rcuwait`).
fn drains(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&["percpu_down_write"]) {
        return None;
    }
    let kernel = look.kernel;
    let lock = sleeper.pointers().map(|at| Object::new(kernel, "percpu_rw_semaphore", at)).find(|it| {
        it.number("writer.task").ok() == Some(sleeper.task.address) && it.small("block").ok() == Some(1)
    })?;
    let mut edge = look.edge(sleeper, WaitKind::PercpuRwsem, lock.at, Vec::new(), WaitProof::Noted)?;
    freeze::add(look, sleeper, &mut edge);
    let readers = readers(look, lock).unwrap_or(0);
    let found = holders::by_stack(look, lock.at, &[sleeper.task.address]);
    if readers > 0 && found.len() as u64 == readers {
        edge.owners = found.into_iter().map(|it| it.1).collect();
        edge.proof = WaitProof::ReaderStack;
    }
    Some(edge)
}

/// Readers that are inside: the sum of all CPUs' counts, of which one alone may be below 0.
fn readers(look: &Look<'_, '_>, lock: Object<'_, '_>) -> Option<u64> {
    let counts = lock.number("read_count").ok()?;
    let mut sum = 0u32;
    for cpu in look.kernel.cpus() {
        let at = counts.wrapping_add(look.kernel.per_cpu_offset(*cpu)?);
        sum = sum.wrapping_add(look.kernel.space.u32(at).ok()?);
    }
    u64::try_from(sum.cast_signed()).ok()
}
