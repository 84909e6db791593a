//! What waits and their proofs are called in a sentence.

use crate::{WaitKind, WaitProof, WaitTarget};

impl WaitKind {
    /// What is waited for, as it stands behind "waits for": `a mutex`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Mutex => "a mutex",
            Self::Rwsem => "a read-write semaphore",
            Self::PercpuRwsem => "a per-CPU read-write semaphore",
            Self::RtMutex => "an rt-mutex",
            Self::Semaphore => "a semaphore",
            Self::Spinlock => "a spinlock",
            Self::Futex => "a lock of user space",
            Self::FsFreeze => "a frozen file system",
            Self::BlockIo => "the block layer",
            Self::PageIo => "a page of a file",
            Self::Journal => "a journal",
            Self::Fuse => "a FUSE server",
            Self::Network => "a server on the network",
            Self::Reclaim => "memory",
            Self::Freezer => "being thawed",
            Self::Rcu => "RCU",
            Self::Completion => "a completion",
            Self::Event => "an event",
            Self::Child => "a child",
            Self::Input => "input",
            Self::Timer => "a timer",
            Self::Work => "work",
            Self::Stopped => "being continued",
        }
    }
}

impl WaitProof {
    /// What was seen, in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Noted => "the kernel noted the lock in the task, and its list of waiters holds the task",
            Self::Listed => "its list of waiters holds the task",
            Self::Queued => "its wait queue holds the task",
            Self::LockWord => "the lock word names its owner",
            Self::ReaderStack => "readers hold it, and their stacks show it",
            Self::Request => "a request that the disk has carries what it waits for",
            Self::Bio => "the bio that wakes it names the disk",
            Self::Handle => "the owners have a handle of the transaction open",
            Self::OpenFile => "the owners have the other end open",
            Self::GracePeriod => "RCU waits for the owners' CPUs, or lists them as readers",
            Self::LockQueue => "the lock's queue leads through its CPU",
            Self::HolderStack => "it is taken, and only the owner's stack has its address",
            Self::Frames => "only the stack says so",
        }
    }

    /// The same in a word or two.
    pub fn short(self) -> &'static str {
        match self {
            Self::Noted => "noted",
            Self::Listed => "listed",
            Self::Queued => "queued",
            Self::LockWord => "lock word",
            Self::ReaderStack => "reader's stack",
            Self::Request => "request",
            Self::Bio => "bio",
            Self::Handle => "open handle",
            Self::OpenFile => "open file",
            Self::GracePeriod => "grace period",
            Self::LockQueue => "lock's queue",
            Self::HolderStack => "holder's stack",
            Self::Frames => "stack only",
        }
    }

    /// Whether the kernel's own data show it: what a mere stack says accuses nobody.
    pub fn is_shown(self) -> bool {
        self != Self::Frames
    }
}

impl WaitTarget {
    /// What it is in a few words, without its address: `disk vdb`. Guest text. `None` where there is no more to
    /// say than the kind of wait says.
    pub fn words(&self) -> Option<String> {
        let cpus = |all: &[u32]| all.iter().take(8).map(u32::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Disk { name, .. } => Some(format!("disk {name}")),
            Self::Page { file_system, inode } => Some(format!("inode {inode} of {file_system}")),
            Self::FileSystem { id, filesystem, .. } => Some(format!("{filesystem} on {id}")),
            Self::Journal { device, .. } => Some(format!("journal {device}")),
            Self::GracePeriod { cpus: all, .. } if all.is_empty() => None,
            Self::GracePeriod { cpus: all, .. } => Some(format!("CPU {}", cpus(all))),
            Self::Queue { cpus: all } => Some(format!("queue of CPU {}", cpus(all))),
            Self::Pipe { .. } => None,
            Self::Files { files, .. } => files.iter().find_map(|it| it.path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_alone_shows_nothing() {
        assert!(!WaitProof::Frames.is_shown() && WaitProof::Queued.is_shown());
        assert_eq!(format!("waits for {}", WaitKind::PageIo.words()), "waits for a page of a file");
    }
}
