//! Which file system is frozen, by whom, and who is about to freeze it.
//!
//! `struct super_block.s_writers` (`include/linux/fs.h`) has a per-CPU rwsem for each level of a freeze. A
//! frozen file system keeps them taken after the task that froze it has gone on or ended: so there is an
//! owner only while somebody is still inside `freeze_super()`.

use vmward_kernel_facts::machine::SuperBlock;
use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, WaitTarget};

use super::Look;
use super::sleeper::Sleeper;
use crate::Kernel;
use crate::machine::object::Object;

/// Levels of a freeze that have a lock (`SB_FREEZE_LEVELS`).
const LEVELS: u64 = 3;

/// Functions that a task is in that freezes or thaws.
const FREEZERS: [&str; 6] =
    ["freeze_super*", "sb_wait_write", "thaw_super*", "freeze_bdev", "thaw_bdev", "bdev_freeze"];

/// Tells of a wait for a per-CPU rwsem which file system it is.
pub(super) fn add(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, edge: &mut WaitEdge) {
    let Some(block) = edge.object.and_then(|it| of_lock(look, it)) else { return };
    edge.kind = WaitKind::FsFreeze;
    edge.what = Some(target(look.kernel, block));
    // Of the writers; the freezer itself waits for those that still write.
    if sleeper.is_in(&FREEZERS) {
        return;
    }
    let freezers = look.tasks.iter().filter(|it| it.address != sleeper.task.address);
    let freezers = freezers.filter_map(|it| {
        let other = Sleeper::read(look, it)?;
        let is_at_it = other.is_in(&FREEZERS) && other.places_of(block.address).next().is_some();
        is_at_it.then_some(it.task.pid?)
    });
    edge.owners = freezers.collect();
    if !edge.owners.is_empty() {
        edge.proof = WaitProof::HolderStack;
    }
}

/// The file system that a per-CPU rwsem belongs to.
fn of_lock<'l>(look: &'l Look<'_, '_>, lock: u64) -> Option<&'l SuperBlock> {
    let first = look.kernel.offset("super_block", "s_writers.rw_sem")?;
    let size = look.kernel.types.size("percpu_rw_semaphore").filter(|it| *it > 0)?;
    look.super_blocks().iter().find(|it| {
        let inside = lock.checked_sub(it.address.wrapping_add(first));
        inside.is_some_and(|it| it % size == 0 && it / size < LEVELS)
    })
}

/// Counts by holder since commit 880b9577855e (v6.6).
fn target(kernel: &Kernel<'_>, block: &SuperBlock) -> WaitTarget {
    let object = Object::new(kernel, "super_block", block.address);
    let mut by = Vec::new();
    for (member, who) in
        [("s_writers.freeze_ucount", "user space"), ("s_writers.freeze_kcount", "the kernel")]
    {
        if object.small(member).is_ok_and(|it| it > 0) {
            by.push(who.to_owned());
        }
    }
    WaitTarget::FileSystem {
        id: block.id.clone(),
        filesystem: block.filesystem.clone(),
        freeze: block.freeze,
        by,
        super_block: block.address,
    }
}
