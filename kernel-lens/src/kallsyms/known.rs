//! What a look learned of a table of names, for the next look at the same bytes.

use serde::{Deserialize, Serialize};

use super::layout::{Layout, MAX_COUNT, MAX_DISTANCE};
use super::names::Walk;
use crate::memory::Key;
use crate::symbols::{Asked, Lengths, PackedNames, Tokens};
use crate::{AddressSpace, Symbols};

/// How a table of names is laid out, and what was asked of it. Nothing of it is used before a digest told that
/// the guest at hand has the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNames {
    /// Secret key and digest of names, markers and tokens.
    key: [u64; 2],
    digest: [[u64; 2]; 2],
    count: u32,
    /// Bytes of the names, and of names and markers.
    len: u32,
    behind_markers: u32,
    /// Bytes of the tokens.
    tokens: u32,
    /// Lengths of 128 and more take two bytes.
    long: bool,
    /// Places of every 256th name.
    markers: Vec<u32>,
    /// Numbers of the symbols that were asked for by name.
    asked: Asked,
}

impl KnownNames {
    /// What was learned of a table; `None` for one whose symbols stand in another order than their names.
    pub(crate) fn of(
        space: &AddressSpace<'_>,
        symbols: &Symbols,
        layout: &Layout,
        tokens: u64,
    ) -> Option<Self> {
        let (names, asked) = symbols.answers()?;
        let tokens_len = names.tokens_len();
        let key = Key::draw();
        let table = space.shared(layout.names, layout.walk.behind_markers).ok()?;
        let tokens = space.shared(tokens, tokens_len).ok()?;
        Some(Self {
            key: key.0,
            digest: [key.digest(&table), key.digest(&tokens)],
            count: u32::try_from(names.len()).ok()?,
            len: u32::try_from(layout.walk.len).ok()?,
            behind_markers: u32::try_from(layout.walk.behind_markers).ok()?,
            tokens: u32::try_from(tokens_len).ok()?,
            long: layout.walk.lengths == Lengths::Long,
            markers: names.markers().to_vec(),
            asked,
        })
    }

    /// The same with what was asked since.
    pub(crate) fn with_asked(&self, symbols: &Symbols) -> Option<Self> {
        let (_, asked) = symbols.answers()?;
        Some(Self { asked, ..self.clone() })
    }

    /// The layout and the names of the table at an address, if it is the same.
    pub(super) fn read(
        &self,
        space: &AddressSpace<'_>,
        num_syms: u64,
        names: u64,
        tokens: u64,
    ) -> Option<(Layout, Symbols)> {
        let (count, len) = (self.count as usize, self.len as usize);
        let behind_markers = self.behind_markers as usize;
        if count > MAX_COUNT || behind_markers as u64 > MAX_DISTANCE || len > behind_markers {
            return None;
        }
        let key = Key(self.key);
        let mut table = space.shared(names, behind_markers).ok()?;
        let tokens = space.shared(tokens, (self.tokens as usize).min(super::load::MAX_TOKENS)).ok()?;
        if [key.digest(&table), key.digest(&tokens)] != self.digest {
            return None;
        }
        table.truncate(len);
        let tokens = Tokens::parse(&tokens)?;
        let lengths = if self.long { Lengths::Long } else { Lengths::Short };
        let packed = PackedNames::known(table, count, lengths, tokens, self.markers.clone());
        let walk = Walk { lengths, len, behind_markers };
        Some((Layout { num_syms, names, count, walk }, Symbols::packed(packed, self.asked.clone())))
    }
}
