//! Finding the kernel: where its image lies, and page tables that lead to it.

mod image;
mod x86_64;

pub use image::{ImageRun, kernel_root};
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
}
