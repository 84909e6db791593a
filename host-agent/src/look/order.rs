//! What a child is told: where the guest's memory is among the descriptors that come along, and what is
//! wanted of it.

use std::os::fd::OwnedFd;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use vmward_kernel_facts::Ask;
use vmward_kernel_lens::cache::Entry;

/// One look.
#[derive(Debug)]
pub struct Order {
    /// What it says.
    pub request: Request,
    /// The descriptors that it numbers.
    pub files: Vec<OwnedFd>,
}

/// The text of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The guest's memory.
    pub memory: MemoryFrom,
    /// Text of `info registers -a`, as it came; none when the monitor cannot be asked.
    #[serde(default)]
    pub registers: Option<String>,
    /// Questions about single things, answered in [`Examination::answers`](vmward_kernel_facts::Examination).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Ask>,
    /// Whether the pages that were read are wanted as a minicore.
    #[serde(default)]
    pub minicore: Option<MinicoreOrder>,
    /// What earlier looks learned of kernels.
    #[serde(default)]
    pub known: Vec<Learned>,
    /// The last descriptor is a file of the kernel's types (BTF, or an ELF file with it), for a kernel without.
    #[serde(default)]
    pub btf: bool,
    /// A picture of the running CPUs over so many moments is wanted, and nothing else. The child asks for
    /// the registers of each.
    #[serde(default)]
    pub moments: Option<u32>,
}

/// What a look learned of a kernel ([`vmward_kernel_lens::cache`]): the bytes of an entry in base64, which
/// JSON carries at a third of what a list of numbers takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Learned(String);

impl Learned {
    /// To be carried.
    pub fn of(entry: &Entry) -> Self {
        Self(BASE64_STANDARD.encode(entry.to_bytes()))
    }

    /// The entry; none if it is of another version, or damaged.
    pub fn entry(&self) -> Option<Entry> {
        Entry::parse(&BASE64_STANDARD.decode(&self.0).ok()?).ok()
    }
}

/// What a minicore may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinicoreOrder {
    /// Of each process also the pages at its stack and instruction pointer.
    pub user_pages: bool,
    /// Bytes at most, packed.
    pub limit: u64,
}

impl Default for MinicoreOrder {
    /// The kernel's pages, in the few MiB that a report may take.
    fn default() -> Self {
        Self { user_pages: false, limit: 8 << 20 }
    }
}

/// Where the memory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryFrom {
    /// Descriptor 0 is a core, of whatever format.
    Core,
    /// A live guest's memory in parts.
    Live {
        /// The parts.
        parts: Vec<Part>,
        /// Numbers of the descriptors of `/proc/PID/mem` and `/proc/PID/pagemap`, where a part needs them.
        process: Option<(usize, usize)>,
    },
}

impl Default for MemoryFrom {
    fn default() -> Self {
        MemoryFrom::Live { parts: Vec::new(), process: None }
    }
}

/// A run of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// First guest-physical address.
    pub phys: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where its bytes are.
    pub at: PartAt,
}

/// Where a part's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartAt {
    /// In a file that QEMU shares.
    File {
        /// Number of the descriptor.
        file: usize,
        /// Offset of the first byte.
        offset: u64,
    },
    /// In QEMU's own memory.
    Process {
        /// Host address of the first byte.
        host: u64,
    },
}
