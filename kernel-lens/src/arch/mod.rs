//! What differs by architecture: the page tables' shape.

mod aarch64_paging;
mod x86_64_paging;

pub use aarch64_paging::{Aarch64Paging, Granule};
pub use x86_64_paging::X86Paging;

use crate::{ReadError, Recorder};

/// Where a guest-virtual address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Guest-physical address of the byte.
    pub phys: u64,
    /// Bytes of the page or block that maps it.
    pub size: u64,
    /// Whether user space may read it.
    pub user: bool,
}

/// Page tables and how to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// x86-64, four or five levels.
    X86_64(X86Paging),
    /// arm64, any granule.
    Aarch64(Aarch64Paging),
}

impl Paging {
    /// Follows the page tables for one address; `None` if it is not mapped.
    ///
    /// # Errors
    /// What the memory says of a table that cannot be read.
    pub fn translate(&self, memory: &Recorder<'_>, virt: u64) -> Result<Option<Mapping>, ReadError> {
        match self {
            Self::X86_64(it) => it.translate(memory, virt),
            Self::Aarch64(it) => it.translate(memory, virt),
        }
    }

    /// The same kind of tables with another root, such as a process's own.
    #[must_use]
    pub fn with_root(self, root: u64) -> Self {
        match self {
            Self::X86_64(it) => Self::X86_64(X86Paging { root, ..it }),
            Self::Aarch64(it) => Self::Aarch64(Aarch64Paging { root, ..it }),
        }
    }
}

/// One entry of a table in guest-physical memory.
fn entry(memory: &Recorder<'_>, table: u64, index: u64) -> Result<u64, ReadError> {
    let mut bytes = [0; 8];
    let at = table.checked_add(index * 8).ok_or(ReadError::NotRam { phys: table })?;
    memory.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
