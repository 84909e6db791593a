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
    /// A module built outside of the kernel's tree brings a base of its own (`.BTF.base`, v6.11): its type
    /// ids are not those of vmlinux until its kernel has loaded it.
    #[error("this BTF of a module stands on a distilled base (.BTF.base), not on that of its kernel")]
    Distilled,
    /// A module that stands on the BTF of another kernel.
    #[error("the BTF of module {module} goes on from type {first_id}, that of vmlinux ends before {next_id}")]
    OtherBase {
        /// The module.
        module: String,
        /// Its first type, as the guest says.
        first_id: u32,
        /// The id after the last one of vmlinux.
        next_id: u32,
    },
    /// Not a file of a 64-bit little-endian machine.
    #[error("only ELF files of 64-bit little-endian machines are read")]
    ElfClass,
    /// The file could not be read.
    #[error("reading the file with the BTF")]
    File(#[from] std::io::Error),
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
