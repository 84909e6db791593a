//! What is waited for where that is no lock: a disk, a file system, a journal, files, CPUs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::{BlockRequest, Freeze};

/// Files of one wait that are told at most.
pub const MAX_WAITED_FILES: usize = 16;

/// What is waited for, by its kind: what its address alone does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum WaitTarget {
    /// A disk that owes an answer.
    Disk {
        /// Its name (`vda`).
        name: String,
        /// The request whose end is waited for; `None` for a wait for any of them (a tag, a frozen queue).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<BlockRequest>,
        /// Requests that its driver has in all.
        in_flight: u64,
    },
    /// A page of a file, or a block of a file system's own.
    Page {
        /// The kernel's name of the file system (the device's, or the type's).
        file_system: String,
        /// Inode number of the file; of a disk's own pages that of the disk.
        inode: u64,
    },
    /// A file system that somebody froze.
    FileSystem {
        /// The kernel's name of it: the device's, or the type's.
        id: String,
        /// Its type (`ext4`).
        filesystem: String,
        /// How far it is frozen.
        freeze: Freeze,
        /// Who froze it, as far as the kernel keeps it (since v6.6): `user space`, `the kernel`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by: Vec<String>,
        /// Guest-virtual address of its `super_block`.
        super_block: u64,
    },
    /// A transaction of a jbd2 journal.
    Journal {
        /// The journal's name (`vda-8`).
        device: String,
        /// Number of the transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<u32>,
        /// Its state as the kernel names it (`T_RUNNING`, `T_LOCKED`, ... `T_FINISHED`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// Handles of it that are still open.
        open_handles: u32,
    },
    /// A grace period of RCU.
    GracePeriod {
        /// An expedited one.
        expedited: bool,
        /// CPUs that it waits for.
        cpus: Vec<u32>,
    },
    /// One end of a pipe.
    Pipe {
        /// Room to write is waited for, not something to read.
        writes: bool,
        /// Somebody has the other end open whom the look did not reach: the owners are not all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// Any of some files (poll, select, epoll).
    Files {
        /// The first of them.
        files: Vec<WaitedFile>,
        /// How many there are in all.
        count: u64,
    },
    /// CPUs that spin for the same lock, in the order in which they will have it.
    Queue {
        /// The guest's numbers of the CPUs. Where the lock keeps no queue the order says nothing.
        cpus: Vec<u32>,
    },
}

/// A file that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitedFile {
    /// Descriptor in the waiter's process; `None` for a file that is open there no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// Its path, or `pipe:[INODE]`, `socket:[INODE]`, `anon_inode:NAME`. Guest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl WaitTarget {
    /// What has to answer although it is no task: the same for all waits that end there.
    pub fn end(&self) -> Option<WaitTarget> {
        match self {
            Self::Disk { name, in_flight, .. } => {
                Some(Self::Disk { name: name.clone(), request: None, in_flight: *in_flight })
            }
            Self::FileSystem { .. } => Some(self.clone()),
            _ => None,
        }
    }

    /// Whether both are the same thing, whatever else is told of it.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Disk { name, .. }, Self::Disk { name: other, .. }) => name == other,
            (Self::FileSystem { super_block, .. }, Self::FileSystem { super_block: other, .. }) => {
                super_block == other
            }
            _ => self == other,
        }
    }
}
