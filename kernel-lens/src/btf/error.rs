//! Why a blob of BTF was not taken.

use thiserror::Error;

/// What is wrong with BTF, or with the file or the memory that should hold it.
#[derive(Debug, Error)]
pub enum BtfError {
    /// It does not begin as BTF does.
    #[error("this is not BTF: it does not begin with the magic 9f eb")]
    NotBtf,
    /// The magic is there with its bytes turned.
    #[error("this is BTF of a big-endian kernel; only little-endian ones are read")]
    BigEndian,
    /// A version that nobody has written yet.
    #[error("BTF of version {version}; version 1 is known")]
    Version {
        /// What the header says.
        version: u8,
    },
    /// A part of it lies outside of it.
    #[error("BTF is cut off or broken: its {part} does not lie within its {len} bytes")]
    Truncated {
        /// Which part.
        part: &'static str,
        /// Bytes of all of it.
        len: usize,
    },
    /// Larger than any kernel's.
    #[error("BTF with more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        limit: usize,
    },
    /// A kind newer than this reader, and no layout section that tells its length.
    #[error("type {id} is of the unknown kind {kind}, and the BTF has no layout that tells how long it is")]
    UnknownKind {
        /// Its id.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// The file has no BTF.
    #[error("this ELF file has no section .BTF")]
    NoSection,
    /// A kernel without BTF, or one whose BTF is not where it should be.
    #[error("no BTF was found in the kernel's image")]
    NotFound,
    /// The memory that holds it could not be read.
    #[error(transparent)]
    Read(#[from] crate::ReadError),
}
