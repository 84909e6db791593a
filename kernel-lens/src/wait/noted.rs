//! What the kernel itself notes of a blocked task: `task_struct.blocker`.

use super::Look;
use super::sleeper::Sleeper;

/// What kind of lock a note names: `BLOCKER_TYPE_*` in `include/linux/hung_task.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    Mutex,
    Semaphore,
    Rwsem,
}

/// The lock that the kernel noted; since v6.15 (commit 3cf67d61ff98, `CONFIG_DETECT_HUNG_TASK_BLOCKER`),
/// with rw-semaphores in two kinds since v6.17.
pub(super) fn blocker(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<(u64, Noted)> {
    let offset = look.kernel.offset("task_struct", "blocker")?;
    let word = look.kernel.space.u64(sleeper.task.address.wrapping_add(offset)).ok().filter(|it| *it != 0)?;
    let kind = match word & 3 {
        0 => Noted::Mutex,
        1 => Noted::Semaphore,
        _ => Noted::Rwsem,
    };
    Some((word & !3, kind))
}

/// Places where a lock of this kind may be: the noted one first, then every pointer on the stack. The flag
/// says whether it was noted.
pub(super) fn candidates<'s>(
    look: &Look<'_, '_>,
    sleeper: &'s Sleeper<'_>,
    kind: Noted,
) -> impl Iterator<Item = (u64, bool)> + use<'s> {
    let noted = blocker(look, sleeper).filter(|it| it.1 == kind).map(|it| (it.0, true));
    noted.into_iter().chain(sleeper.pointers().map(|it| (it, false)))
}
