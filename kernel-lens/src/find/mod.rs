//! Finding the kernel: where its image lies, and page tables that lead to it.

mod aarch64;
mod image;
pub(crate) mod scan;
mod without_registers;
mod x86_64;

pub use aarch64::{Aarch64Kernel, aarch64, aarch64_from, aarch64_known};
pub use image::{ImageRun, kernel_root};
pub use without_registers::{FoundKernel, Unregistered, without_registers};
pub use x86_64::{X86Kernel, x86_64};

use thiserror::Error;

/// Why no kernel was found.
#[derive(Debug, Error)]
pub enum FindError {
    /// No vCPU's registers of this architecture were given.
    #[error("there are no registers to begin with")]
    NoRegisters,
    /// No page tables lead to an image: firmware or a boot loader runs, or another system than Linux.
    #[error("none of {tried} page-table roots maps a Linux kernel")]
    NoImage {
        /// Roots that were tried.
        tried: usize,
    },
    /// Memory could not be read.
    #[error("while looking for a kernel")]
    Read(#[from] crate::ReadError),
}
