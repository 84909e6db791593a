//! What is mounted, and which filesystems are frozen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a filesystem is frozen (`SB_FREEZE_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Not at all.
    #[default]
    No,
    /// No new writes.
    Writes,
    /// Nor page faults.
    PageFaults,
    /// Nor the filesystem's own.
    Internal,
    /// It is frozen.
    Complete,
}

/// A filesystem, mounted once or more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuperBlock {
    /// Type (`ext4`, `tmpfs`).
    pub filesystem: String,
    /// The kernel's name of it: the device's, or the type's.
    pub id: String,
    /// Major and minor number of its device.
    pub device: (u32, u32),
    /// It is read-only.
    pub read_only: bool,
    /// How far it is frozen.
    pub freeze: Freeze,
    /// Guest-virtual address of its `super_block`.
    pub address: u64,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// What is mounted. Guest text.
    pub source: String,
    /// Where. Guest text.
    pub path: String,
    /// Type (`ext4`, `tmpfs`).
    pub filesystem: String,
    /// Options of the mount and of the filesystem that all filesystems share: `rw,nosuid,relatime`. Those
    /// of one type are not read.
    pub options: String,
    /// Guest-virtual address of its `super_block`.
    pub super_block: u64,
}

/// Mounts that process 1 sees, and all filesystems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mounts {
    /// Mounts that process 1 sees.
    pub mounts: Vec<Mount>,
    /// Every filesystem of the kernel, also those that only containers or the kernel itself see.
    pub super_blocks: Vec<SuperBlock>,
}

impl Mounts {
    /// Filesystems that are frozen or on the way there.
    pub fn frozen(&self) -> impl Iterator<Item = &SuperBlock> {
        self.super_blocks.iter().filter(|it| it.freeze != Freeze::No)
    }
}
