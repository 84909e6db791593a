//! `lock-wait`: tasks wait for a lock, or for a frozen or dead file system.
//!
//! What: tasks in uninterruptible sleep in the slow path of a kernel lock, behind a frozen file
//! system, or waiting for the answer of a FUSE server; they stand at the same place in two lists
//! taken seconds apart, where both were got. Where a disk owes answers as well, it is named as the
//! likely root, and two waiters are needed: one that happens to queue behind I/O is no chain.
//! Why: the guest runs; those tasks, and whoever needs them, do not.
//! Evidence: kernel stacks; virtqueues, for the root.
//! Where memory was read, other rules name the holder; this one speaks where they cannot.
//! False alarms: locks that are held for long under heavy load; a disk that moves speaks against it.
//! Next steps: the holder. Which lock, and whose, needs guest memory.

use vmward_kernel_facts::WaitKind;
use vmward_model::{Class, Confidence};

use super::disk_stall::{owed, waits};
use super::{Checked, Draft, Rule, deadlock, fs_frozen, lock_chain, memory_thrash};
use crate::Case;
use crate::sign::{disk, memory, task};

pub(super) struct LockWait;

impl Rule for LockWait {
    fn name(&self) -> &'static str {
        "lock-wait"
    }

    fn class(&self) -> Class {
        Class::LockWait
    }

    fn check(&self, case: &Case) -> Checked {
        let named: [&dyn Rule; 3] = [&deadlock::Deadlock, &lock_chain::LockChain, &fs_frozen::FsFrozen];
        if named.iter().any(|it| matches!(it.check(case), Checked::Yes(_))) {
            return Checked::No;
        }
        let Some(blocked) = task::blocked(case) else {
            return Checked::Unknown(task::why_no_list(case));
        };
        let locks = task::waiting(&blocked, WaitKind::is_lock);
        let frozen = task::waiting(&blocked, |it| it == WaitKind::FsFreeze);
        let fuse = task::waiting(&blocked, |it| it == WaitKind::Fuse);
        let waiting = locks.len() + frozen.len() + fuse.len();
        let owing = disk::owing(case).unwrap_or_default();
        let needed = if owing.is_empty() || !frozen.is_empty() || !fuse.is_empty() { 1 } else { 2 };
        if waiting < needed {
            return Checked::No;
        }
        let mut draft = Draft::new(Confidence::Likely).detail("waiters", waiting);
        for (tasks, what) in
            [(&locks, "a kernel lock"), (&frozen, "a frozen file system"), (&fuse, "a FUSE server's answer")]
        {
            if !tasks.is_empty() {
                let text = format!("{} for {what}: {}", waits(tasks.len()), task::names(tasks));
                draft = draft.because(task::source(case), text);
            }
        }
        draft = draft.detail(
            "root",
            match (owing.is_empty(), frozen.is_empty(), fuse.is_empty()) {
                (false, ..) => "a disk that does not answer",
                (_, false, _) => "a frozen file system",
                (.., false) => "a FUSE server that does not answer",
                _ => "a lock whose holder is not known",
            },
        );
        if owing.is_empty() {
            match disk::nothing_in_flight(case) {
                Some(true) => {
                    draft = draft.because("capture:queues", "no disk holds a request: not the disks")
                }
                Some(false) => {
                    draft = draft.although("capture:queues", "a disk has requests in flight and moves")
                }
                None => draft.confidence = Confidence::Possible,
            }
        } else {
            draft = owed(draft, &owing);
            let io = task::waiting(&blocked, WaitKind::is_io);
            if !io.is_empty() {
                draft = draft.because(
                    task::source(case),
                    format!("{} for storage: {}", waits(io.len()), task::names(&io)),
                );
            }
        }
        // Other disks may well go on while one owes answers: that says nothing about the waiters here.
        if owing.is_empty() && disk::ops_per_second(case).is_some_and(|it| it >= 20.0) {
            draft = draft.although("capture:blocks", "the disks are busy: locks may be held long and move");
            draft.confidence = Confidence::Possible;
        }
        // Whoever brings pages in holds the lock of its address space: those that wait for that one wait
        // for memory.
        let short = memory::seen(case).is_some_and(|it| memory::is_short(&it));
        if owing.is_empty() && short && !memory_thrash::reclaiming(case).is_empty() {
            draft = draft.although(task::source(case), "memory is short: locks are held while pages come in");
            draft.confidence = Confidence::Possible;
        }
        Checked::Yes(draft)
    }
}
