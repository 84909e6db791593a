//! Tasks that wait for a lock of user space.

use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof};

use super::Look;
use super::sleeper::Sleeper;
use crate::AddressSpace;

/// The thread id in the lock word of robust and priority-inheriting futexes: `FUTEX_TID_MASK`.
const TID: u32 = 0x3fff_ffff;

/// `struct futex_q` lies on the waiter's stack and names the task; its key names address space and address
/// (`kernel/futex/futex.h`). The lock word is read through the process's own page tables. Its owner is told
/// only where the word names a thread of the same process: other locks keep something else in it.
pub(super) fn read(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<WaitEdge> {
    if !sleeper.is_in(&["futex_wait*", "__futex_wait", "futex_lock_pi"]) || sleeper.task.mm == 0 {
        return None;
    }
    let kernel = look.kernel;
    let task_at = kernel.offset("futex_q", "task")?;
    let mm_at = kernel.offset("futex_q", "key.private.mm")?;
    let address_at = kernel.offset("futex_q", "key.private.address")?;
    let offset_at = kernel.offset("futex_q", "key.private.offset")?;
    for place in sleeper.places_of(sleeper.task.address) {
        let Some(queued) = place.checked_sub(task_at) else { continue };
        let word = |offset: u64| kernel.space.u64(queued.wrapping_add(offset)).ok();
        if word(mm_at) != Some(sleeper.task.mm) {
            continue;
        }
        let Some(page) = word(address_at) else { continue };
        let Ok(inside) = kernel.space.u32(queued.wrapping_add(offset_at)) else { continue };
        // The low two bits say what kind of key it is.
        let address = page.wrapping_add(u64::from(inside & 0xffc));
        let owner = lock_word(look, sleeper, address).and_then(|it| thread(look, sleeper, it & TID));
        let proof = if owner.is_some() { WaitProof::LockWord } else { WaitProof::Queued };
        return look.edge(sleeper, WaitKind::Futex, address, owner.into_iter().collect(), proof);
    }
    None
}

fn lock_word(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, address: u64) -> Option<u32> {
    let kernel = look.kernel;
    let table = kernel.space.u64(sleeper.task.mm.checked_add(kernel.offset("mm_struct", "pgd")?)?).ok()?;
    let root = kernel.space.phys(table).ok()?;
    let user = AddressSpace::new(kernel.space.memory(), kernel.space.paging().with_root(root));
    user.u32(address).ok()
}

/// A thread of the sleeper's own process, and not the sleeper itself.
fn thread(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, tid: u32) -> Option<u32> {
    let found = look.tasks.by_pid(tid)?;
    let same = found.leader == sleeper.task.leader && found.address != sleeper.task.address;
    same.then_some(tid)
}
