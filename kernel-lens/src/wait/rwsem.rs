//! Tasks that wait for a read-write semaphore.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::list::WaiterList;
use super::noted::{Noted, candidates};
use super::sleeper::Sleeper;
use super::{Look, holders};

/// Bit 0 of the count: a writer holds it. Bits 8 and up count its readers. Bit 0 of the owner: the owner is
/// only the last of the readers. Since commit 94a9717b3c40 and its siblings (v5.3).
const WRITER: u64 = 1;
const READERS: u32 = 8;
const OWNED_BY_READER: u64 = 1;

/// `struct rw_semaphore` (`include/linux/rwsem.h`).
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&[
        "rwsem_down_*",
        "__rwsem_down_*",
        "__down_read*",
        "__down_write*",
        "down_read*",
        "down_write*",
    ]) {
        return None;
    }
    let list = WaiterList::of(look, "rw_semaphore", "rwsem_waiter")?;
    let count_at = look.kernel.offset("rw_semaphore", "count")?;
    let owner_at = look.kernel.offset("rw_semaphore", "owner")?;
    let space = &look.kernel.space;
    for (lock, noted) in candidates(look, sleeper, Noted::Rwsem) {
        let Ok(count) = space.u64(lock.wrapping_add(count_at)) else { continue };
        let Ok(word) = space.u64(lock.wrapping_add(owner_at)) else { continue };
        let Some(waiters) = list.tasks(look, lock) else { continue };
        if !waiters.contains(&sleeper.task.address) {
            continue;
        }
        let proof = if noted { WaitProof::Noted } else { WaitProof::Listed };
        if count & WRITER != 0 && word & OWNED_BY_READER == 0 {
            let Some(owner) = look.owner(word) else { continue };
            return look.edge(sleeper, WaitKind::Rwsem, lock, vec![owner], proof);
        }
        let readers = count.cast_signed() >> READERS;
        // A count below 0 or beyond all tasks is no count: this is no rw-semaphore.
        if readers < 0 || readers.unsigned_abs() > look.tasks.len() as u64 {
            continue;
        }
        let found = readers_of(look, lock, &waiters, word, readers.unsigned_abs());
        let proof = if found.is_empty() { proof } else { WaitProof::ReaderStack };
        return look.edge(sleeper, WaitKind::Rwsem, lock, found, proof);
    }
    None
}

/// The tasks that hold a lock for reading, which the lock does not tell: those with its address on their
/// live stack that do not wait for it. They are told only if there are as many as the lock counts, or if
/// the lock names that one as its last reader: else there may be one that only passes by.
fn readers_of(look: &Look<'_, '_>, lock: u64, waiters: &[u64], owner: u64, readers: u64) -> Vec<u32> {
    if readers == 0 {
        return Vec::new();
    }
    let mut found = holders::by_stack(look, lock, waiters);
    if found.len() as u64 != readers {
        let last = (owner & OWNED_BY_READER != 0).then_some(owner & !7);
        found.retain(|(address, _)| Some(*address) == last);
    }
    found.into_iter().map(|(_, pid)| pid).collect()
}
