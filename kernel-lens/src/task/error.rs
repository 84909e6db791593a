//! Why a kernel's tasks could not be read at all.

use thiserror::Error;

/// Why no task could be read.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The symbol that all begins with is not in the table.
    #[error("the kernel has no symbol {0}")]
    NoSymbol(&'static str),
    /// A type lacks a member, or the kernel carries no types.
    #[error("the kernel's types have no {of}.{path}")]
    NoMember {
        /// The structure.
        of: &'static str,
        /// The member.
        path: &'static str,
    },
}
