//! What a look learned of a kernel's types, for the next look at the same bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::find::read_blob;
use super::unit::Unit;
use super::{BtfError, Types};
use crate::AddressSpace;
use crate::memory::Key;

/// The index of vmlinux's types as far as it was used. Nothing of it is used before a digest told that the
/// guest at hand has the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTypes {
    /// Secret key and digest of the blob.
    pub(super) key: [u64; 2],
    pub(super) digest: [u64; 2],
    pub(super) count: u32,
    /// Where every 32nd record begins.
    pub(super) starts: Vec<u32>,
    pub(super) tells_signs: bool,
    /// Names of types that were asked for, and their ids.
    pub(super) asked: BTreeMap<String, Vec<u32>>,
    /// Enumerators that were asked for, and their values.
    pub(super) values: BTreeMap<String, Option<i64>>,
}

impl Types {
    /// What was learned of vmlinux's types; `None` where there are none.
    pub fn known(&self) -> Option<KnownTypes> {
        Some(self.units.first()?.learned())
    }

    /// The same with what was asked since.
    pub(crate) fn with_asked(&self, known: &KnownTypes) -> Option<KnownTypes> {
        let unit = self.units.first()?;
        let (asked, values) = (unit.asked.borrow().clone(), unit.values.borrow().clone());
        Some(KnownTypes { asked, values, ..known.clone() })
    }

    /// Reads the BTF at an address range; `None` if it is not the one that is known.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_known(
        space: &AddressSpace<'_>,
        range: Range<u64>,
        known: &KnownTypes,
    ) -> Result<Option<Self>, BtfError> {
        let blob = read_blob(space, range)?;
        if Key(known.key).digest(&blob) != known.digest {
            return Ok(None);
        }
        let unit = Unit::known(blob, known);
        Ok(unit.map(|it| Self { units: vec![it], ..Self::none() }))
    }
}
