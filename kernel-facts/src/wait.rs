//! What a task waits for, told from the symbols on its stack.
//!
//! The symbols are data ([`WAIT_SYMBOLS`]); this is the walk over them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FREEZE_CALLERS, Frame, Task, TaskState, WAIT_SYMBOLS};

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitKind {
    /// A mutex.
    Mutex,
    /// A read-write semaphore (`struct rw_semaphore`), such as an inode's or `mmap_lock`.
    Rwsem,
    /// A per-CPU read-write semaphore that is not a frozen file system's.
    PercpuRwsem,
    /// An rt-mutex.
    RtMutex,
    /// A counting semaphore (`struct semaphore`).
    Semaphore,
    /// A spinlock: the waiter does not sleep but spins on its CPU.
    Spinlock,
    /// A lock of user space, or a condition variable.
    Futex,
    /// A file system that somebody froze (`fsfreeze`, snapshot in progress).
    FsFreeze,
    /// The block layer: a request, a tag, the throttler.
    BlockIo,
    /// A page or folio to be read or written.
    PageIo,
    /// A journal's commit (jbd2, or XFS's log).
    Journal,
    /// An answer of a FUSE server in user space.
    Fuse,
    /// An answer of an NFS or other RPC server.
    Network,
    /// Memory to be reclaimed.
    Reclaim,
    /// To be thawed: the cgroup freezer or suspend.
    Freezer,
    /// A grace period of RCU.
    Rcu,
    /// A completion, of what the stack does not say.
    Completion,
    /// A wait queue, of what the stack does not say.
    Event,
    /// A child process.
    Child,
    /// Input: poll, select, a pipe, a terminal, a socket; also room in a pipe.
    Input,
    /// A timer.
    Timer,
    /// Work: a kernel thread at its own rest.
    Work,
    /// Stopped by a signal or a tracer.
    Stopped,
}

impl WaitKind {
    /// A lock inside the kernel that another task has to release.
    pub fn is_lock(self) -> bool {
        matches!(
            self,
            Self::Mutex | Self::Rwsem | Self::PercpuRwsem | Self::RtMutex | Self::Semaphore | Self::Spinlock
        )
    }

    /// Storage has to answer.
    pub fn is_io(self) -> bool {
        matches!(self, Self::BlockIo | Self::PageIo | Self::Journal)
    }

    /// How well-behaved tasks rest: nothing is wrong when many of them do.
    pub fn is_rest(self) -> bool {
        matches!(self, Self::Futex | Self::Child | Self::Input | Self::Timer | Self::Work)
    }

    /// A wait of which a frame further out may say more: an I/O wait inside a journal's is the journal's.
    fn is_vague(self) -> bool {
        matches!(self, Self::Completion | Self::Timer | Self::BlockIo | Self::PercpuRwsem)
    }
}

/// The name without what compilers and linkers append (`.constprop.0`, `.isra.0`, `.cold`, `.llvm.1`).
pub fn symbol_stem(symbol: &str) -> &str {
    match symbol.find('.') {
        Some(at) if at > 0 => &symbol[..at],
        _ => symbol,
    }
}

/// The way into the scheduler that every sleeping stack begins with; says nothing of why.
pub fn is_scheduler_glue(symbol: &str) -> bool {
    const GLUE: &[&str] = &[
        "__switch_to",
        "__switch_to_asm",
        "__schedule",
        "context_switch",
        "schedule",
        "schedule_preempt_disabled",
        "preempt_schedule",
        "preempt_schedule_common",
        "preempt_schedule_irq",
        "schedule_timeout",
        "finish_task_switch",
    ];
    GLUE.contains(&symbol_stem(symbol))
}

/// What this task waits for; `None` for one that runs or whose stack is not understood.
pub fn wait_kind(task: &Task) -> Option<WaitKind> {
    if task.state == Some(TaskState::R) { None } else { wait_of_stack(&task.stack) }
}

/// What a stack (innermost frame first) waits for.
///
/// Only frames that the unwinder vouches for count, unless it vouched for none. The innermost
/// symbol of the table decides; where that one is vague, a more telling one further out does.
pub fn wait_of_stack(stack: &[Frame]) -> Option<WaitKind> {
    let none_sure = !stack.iter().any(|it| it.sure);
    let names = stack.iter().filter(|it| it.sure || none_sure).take(MAX_FRAMES).map(Frame::name);
    let mut kinds = names.clone().filter_map(lookup);
    let first = kinds.next()?;
    if !first.is_vague() {
        return Some(first);
    }
    if first == WaitKind::PercpuRwsem {
        return Some(if is_behind_freeze(names) { WaitKind::FsFreeze } else { first });
    }
    let telling = |it: &WaitKind| match first {
        // Who sleeps for a while inside reclaim or RCU does not wait for the clock.
        WaitKind::Timer => {
            matches!(it, WaitKind::Reclaim | WaitKind::Rcu | WaitKind::Network | WaitKind::Fuse)
        }
        WaitKind::BlockIo => matches!(it, WaitKind::PageIo | WaitKind::Journal | WaitKind::Reclaim),
        _ => *it == WaitKind::Child || *it == WaitKind::BlockIo || (!it.is_rest() && !it.is_vague()),
    };
    Some(kinds.find(telling).unwrap_or(first))
}

/// Frames looked at: no wait is told by what is further out.
const MAX_FRAMES: usize = 32;

/// Whether the frame around the per-CPU rwsem's own functions takes a super block's write count.
fn is_behind_freeze<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let mut callers = names.map(symbol_stem).skip_while(|it| is_scheduler_glue(it));
    let own = |it: &&str| it.contains("percpu") || it.contains("rwsem");
    callers
        .by_ref()
        .skip_while(|it| own(it))
        .take(FREEZE_DEPTH)
        .any(|stem| FREEZE_CALLERS.iter().any(|it| it.matches(stem)))
}

/// How far around the lock a caller may be: file systems put a helper or two between.
const FREEZE_DEPTH: usize = 4;

fn lookup(symbol: &str) -> Option<WaitKind> {
    let stem = symbol_stem(symbol);
    WAIT_SYMBOLS.iter().find(|it| it.matches(stem)).map(|it| it.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(symbols: &[&str]) -> Option<WaitKind> {
        wait_of_stack(&symbols.iter().map(|it| Frame::named(*it)).collect::<Vec<_>>())
    }

    #[test]
    fn a_writer_behind_a_mutex_waits_for_a_lock() {
        let kind = kind_of(&[
            "__schedule",
            "schedule",
            "schedule_preempt_disabled",
            "__mutex_lock.constprop.0",
            "vfs_write",
        ]);
        assert_eq!(kind, Some(WaitKind::Mutex));
        assert!(kind.is_some_and(WaitKind::is_lock));
    }

    #[test]
    fn a_holder_that_waits_for_the_disk_waits_for_io() {
        let kind =
            kind_of(&["__schedule", "schedule", "io_schedule", "blk_mq_get_tag", "__blk_mq_alloc_requests"]);
        assert_eq!(kind, Some(WaitKind::BlockIo));
        let kind = kind_of(&[
            "__schedule",
            "schedule",
            "io_schedule",
            "folio_wait_bit_common",
            "filemap_fdatawait_range",
        ]);
        assert_eq!(kind, Some(WaitKind::PageIo));
        let kind = kind_of(&["__schedule", "schedule", "jbd2_log_wait_commit", "ext4_sync_file", "do_fsync"]);
        assert_eq!(kind, Some(WaitKind::Journal));
    }

    #[test]
    fn a_frozen_file_system_is_told_from_another_percpu_lock() {
        let frozen = [
            "__schedule",
            "schedule",
            "percpu_rwsem_wait",
            "__percpu_down_read",
            "mnt_want_write",
            "do_open",
        ];
        assert_eq!(kind_of(&frozen), Some(WaitKind::FsFreeze));
        let cgroup = ["__schedule", "schedule", "percpu_rwsem_wait", "__percpu_down_read", "cgroup_can_fork"];
        assert_eq!(kind_of(&cgroup), Some(WaitKind::PercpuRwsem));
    }

    #[test]
    fn a_write_that_waits_for_a_reader_of_its_pipe_is_not_frozen() {
        let kind = kind_of(&["__schedule", "schedule", "pipe_write", "vfs_write", "ksys_write"]);
        assert_eq!(kind, Some(WaitKind::Input));
        let tap = ["schedule", "wait_for_completion", "some_driver", "vfs_write"];
        assert_eq!(kind_of(&tap), Some(WaitKind::Completion));
    }

    #[test]
    fn a_completion_is_vague_only_when_nothing_else_is_known() {
        assert_eq!(kind_of(&["schedule", "__wait_for_common", "kernel_clone"]), Some(WaitKind::Child));
        assert_eq!(kind_of(&["schedule", "wait_for_completion", "some_driver"]), Some(WaitKind::Completion));
        assert_eq!(
            kind_of(&["schedule", "wait_for_completion_io", "submit_bio_wait"]),
            Some(WaitKind::BlockIo)
        );
    }

    #[test]
    fn doubtful_frames_count_only_when_there_are_no_others() {
        let stale = Frame { sure: false, ..Frame::named("__mutex_lock") };
        let sure = ["schedule", "do_wait"].map(Frame::named);
        assert_eq!(wait_of_stack(&[std::slice::from_ref(&stale), &sure[..]].concat()), Some(WaitKind::Child));
        assert_eq!(wait_of_stack(&[stale]), Some(WaitKind::Mutex));
    }

    #[test]
    fn a_running_stack_waits_for_nothing() {
        assert_eq!(kind_of(&["native_safe_halt", "do_idle"]), None);
        assert_eq!(kind_of(&[]), None);
    }
}
