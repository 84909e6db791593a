//! The kernel's own table of symbols, found in its image.
//!
//! `scripts/kallsyms.c` of the kernel writes six or seven tables into `.rodata`. Nothing says where they lie:
//! the table of tokens has a part that looks the same in every kernel, and from there each other table is
//! told by what it must agree with. A table is taken only if symbols that it names hold what they must.
//!
//! | kernels | tables in order |
//! |---|---|
//! | before v6.4 | addresses, or offsets and base; count, names, markers, (sequence), tokens, token index |
//! | since commit 404bad70fcf7 (v6.4) | count, names, markers, tokens, token index, offsets, base, sequence |
//! | since commit a081b5789255 (v7.0) | the same without a base |

mod encoding;
mod known;
mod layout;
mod load;
mod names;
#[cfg(test)]
mod test_image;
#[cfg(test)]
mod tests;
mod token_table;

pub use encoding::Encoding;
pub use known::KnownNames;
pub(crate) use layout::Layout;
pub use load::{Kallsyms, at, at_known, scan};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ReadError;

/// Where the tables lie, as `VMCOREINFO` says since commit 5fd8fea935a1 (v6.0), a cache or an earlier scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KallsymsAddresses {
    /// `kallsyms_num_syms`.
    pub num_syms: u64,
    /// `kallsyms_names`.
    pub names: u64,
    /// `kallsyms_token_table`.
    pub token_table: u64,
    /// `kallsyms_token_index`.
    pub token_index: u64,
    /// `kallsyms_offsets`.
    pub offsets: Option<u64>,
    /// `kallsyms_relative_base`.
    pub relative_base: Option<u64>,
    /// `kallsyms_addresses`.
    pub addresses: Option<u64>,
}

impl KallsymsAddresses {
    /// The addresses of the same kernel elsewhere: of a run from `from` in one at `to`.
    #[must_use]
    pub fn moved(self, from: u64, to: u64) -> Self {
        let moved = |it: u64| it.wrapping_sub(from).wrapping_add(to);
        Self {
            num_syms: moved(self.num_syms),
            names: moved(self.names),
            token_table: moved(self.token_table),
            token_index: moved(self.token_index),
            offsets: self.offsets.map(moved),
            relative_base: self.relative_base.map(moved),
            addresses: self.addresses.map(moved),
        }
    }
}

/// Why there are no symbols.
#[derive(Debug, Error)]
pub enum KallsymsError {
    /// Nothing in the image looks like a table of tokens.
    #[error("no table of symbols was found in the kernel's image")]
    NoTokens,
    /// There are tokens, but no names that agree with them.
    #[error("a table of tokens was found in the kernel's image, but no names")]
    NoNames,
    /// There are names, but no addresses with which they hold what they must.
    #[error("{count} names of symbols were found in the kernel's image, but not their addresses")]
    NoAddresses {
        /// How many names.
        count: usize,
    },
    /// The image cannot be read.
    #[error("the table of symbols cannot be read")]
    Read(#[from] ReadError),
}
