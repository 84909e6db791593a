//! Why something could not be read out of a guest's memory.

use thiserror::Error;

/// Why a read of guest memory failed.
///
/// Whatever follows guest pointers meets these often: a wild pointer in a guest that is running or broken
/// is an answer of its own, not a fault of ours.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The guest-virtual address is not mapped by the page tables in use.
    #[error("guest-virtual address {virt:#x} is not mapped")]
    NotMapped {
        /// The address asked for.
        virt: u64,
    },
    /// The guest-physical address is not RAM: a hole, a ROM, a device.
    #[error("guest-physical address {phys:#x} is not RAM")]
    NotRam {
        /// The address asked for.
        phys: u64,
    },
    /// The memory is RAM, but this source does not hold it (a minicore keeps only what was read).
    #[error("guest-physical address {phys:#x} was not kept in this file")]
    NotKept {
        /// The address asked for.
        phys: u64,
    },
    /// The source itself failed.
    #[error("reading guest-physical address {phys:#x}")]
    Source {
        /// The address asked for.
        phys: u64,
        /// What the source said.
        #[source]
        source: std::io::Error,
    },
    /// What was found there cannot be: a value that no kernel writes, or one torn by a running guest.
    #[error("{what} at guest-virtual address {virt:#x} makes no sense")]
    Inconsistent {
        /// What was read.
        what: &'static str,
        /// Where.
        virt: u64,
    },
    /// The reads of one examination have a bound, so that no guest can keep the reader busy.
    #[error("gave up after {spent} reads of guest memory")]
    Exhausted {
        /// How many there were.
        spent: u64,
    },
}
