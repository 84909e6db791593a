//! Types of a kernel, from the BTF that it carries: sizes, offsets of members, values of enumerators.
//!
//! BTF (`include/uapi/linux/btf.h`, `Documentation/bpf/btf.rst`) is 3 to 6 MB with 80,000 to 140,000 types.
//! One walk notes where each begins and hashes the names that are asked for; the rest is read on demand.
//! There are no global variables in it: addresses come from the symbols.

mod describe;
mod elf;
mod enumerators;
mod error;
mod find;
mod guest_modules;
mod header;
#[cfg(test)]
mod hostile;
mod kind;
mod known;
mod member;
mod name;
mod names;
mod path;
#[cfg(test)]
mod test_blob;
mod unit;
mod walk;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

pub use elf::blob_of_file;
pub use error::BtfError;
pub use guest_modules::ModuleBtf;
pub use known::KnownTypes;
pub use member::Member;

use unit::Unit;
use walk::{Place, TypeRef};

use crate::memory::Shared;

/// Types of one name that are looked at.
const MAX_SAME: usize = 16;
/// Answers kept.
const MAX_KNOWN: usize = 1 << 14;

/// The types of a kernel and of those modules that were added.
///
/// A type is named `task_struct` or `struct task_struct`; without the word the structure is meant before
/// the union, the typedef and the enum of the same name.
#[derive(Debug)]
pub struct Types {
    /// vmlinux first.
    units: Vec<Unit>,
    /// Answers of [`Types::offset`]: readers ask the same for every task.
    known: RefCell<HashMap<u64, Known>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    of: String,
    path: String,
    place: Option<Place>,
}

impl Types {
    /// Indexes the BTF of vmlinux.
    ///
    /// # Errors
    /// Whatever is wrong with it: [`BtfError`].
    pub fn new(blob: Vec<u8>) -> Result<Self, BtfError> {
        Self::of(blob.into())
    }

    /// The same for bytes that the record holds.
    pub(crate) fn of(blob: Shared) -> Result<Self, BtfError> {
        let units = vec![Unit::new(blob, "", None)?];
        Ok(Self { units, known: RefCell::default(), hasher: RandomState::new() })
    }

    /// No types: a kernel without BTF. Every question is answered with nothing.
    pub fn none() -> Self {
        Self { units: Vec::new(), known: RefCell::default(), hasher: RandomState::new() }
    }

    /// Adds the BTF of a module, whose type ids and strings go on where those of vmlinux end. Its types are
    /// found after all those added before.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn add_module(&mut self, name: &str, blob: Vec<u8>) -> Result<(), BtfError> {
        self.add(name, blob.into())
    }

    fn add(&mut self, name: &str, blob: Shared) -> Result<(), BtfError> {
        let base = self.units.first().ok_or(BtfError::NotFound)?;
        self.units.push(Unit::new(blob, name, Some(base))?);
        self.known.borrow_mut().clear();
        Ok(())
    }

    /// How many types there are.
    pub fn len(&self) -> usize {
        self.units.iter().map(Unit::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.units.iter().all(|it| it.len() == 0)
    }

    /// Bytes that the types take in this process, without what was asked.
    pub fn memory(&self) -> usize {
        self.units.iter().map(Unit::memory).sum()
    }

    /// Names of the modules added.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.units.iter().skip(1).map(|it| it.module.as_str())
    }

    /// Bytes of a type.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.named(name).find_map(|it| self.size_of(it))
    }

    /// Bytes from the start of a type to what a path leads to; of a bit-field, to its first byte.
    ///
    /// Of several types of the name the first that has such a member is meant.
    pub fn offset(&self, type_name: &str, path: &str) -> Option<u64> {
        Some(self.place_of(type_name, path)?.bit / 8)
    }

    /// Where a path leads, from the answers kept or by a walk.
    fn place_of(&self, type_name: &str, path: &str) -> Option<Place> {
        let key = self.hasher.hash_one((type_name, path));
        if let Some(known) = self.known.borrow().get(&key)
            && known.of == type_name
            && known.path == path
        {
            return known.place;
        }
        let place =
            path::steps(path).and_then(|steps| self.named(type_name).find_map(|it| self.follow(it, &steps)));
        let mut all = self.known.borrow_mut();
        if all.len() < MAX_KNOWN {
            all.insert(key, Known { of: type_name.to_owned(), path: path.to_owned(), place });
        }
        place
    }

    /// The types of a name, the likeliest first.
    fn named(&self, name: &str) -> impl Iterator<Item = TypeRef> + '_ {
        let (wanted, name): (fn(u8) -> bool, &str) = match name.trim().split_once(' ') {
            Some(("struct", name)) => (|it| it == kind::STRUCT, name.trim()),
            Some(("union", name)) => (|it| it == kind::UNION, name.trim()),
            Some(("enum", name)) => (|it| matches!(it, kind::ENUM | kind::ENUM64), name.trim()),
            _ => (|_| true, name.trim()),
        };
        let mut found = Vec::new();
        for (number, unit) in self.units.iter().enumerate() {
            let ids = unit.ids(name, self.units.first()).into_iter();
            let mut all: Vec<(u8, TypeRef)> = ids
                .filter_map(|id| Some((id, unit.record(id)?)))
                .filter(|it| wanted(it.1.kind))
                .take(MAX_SAME)
                .map(|(id, record)| (kind::rank(record.kind), TypeRef { unit: number, id }))
                .collect();
            all.sort_by_key(|it| it.0);
            found.extend(all.into_iter().map(|it| it.1));
        }
        found.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::test_blob::Blob;
    use super::*;

    #[test]
    fn sizes_and_offsets_are_found_by_name() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(types.size("task_struct"), Some(64));
        assert_eq!(types.size("struct task_struct"), Some(64));
        assert_eq!(types.size("union task_struct"), None);
        assert_eq!(types.size("u64"), Some(8));
        assert_eq!(types.offset("task_struct", "pid"), Some(8));
        assert_eq!(types.offset("task_struct", "se.vruntime"), Some(24));
        assert_eq!(types.offset("task_t", "se.vruntime"), Some(24));
        assert_eq!(types.offset("task_struct", "nothing"), None);
        assert_eq!(types.offset("task_struct", "pid.inner"), None);
        assert_eq!(types.offset("nothing", "pid"), None);
        assert!(types.len() > 5 && !types.is_empty());
    }

    #[test]
    fn members_of_structures_without_a_name_are_members_of_the_outer_one() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(types.offset("task_struct", "inner_low"), Some(32));
        assert_eq!(types.offset("task_struct", "inner_high"), Some(36));
    }

    #[test]
    fn elements_of_arrays_are_found_within_bounds() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(types.offset("task_struct", "slots[0]"), Some(40));
        assert_eq!(types.offset("task_struct", "slots[2]"), Some(48));
        assert_eq!(types.offset("task_struct", "slots[4]"), None);
        assert_eq!(types.offset("task_struct", "slots[18446744073709551615]"), None);
    }

    #[test]
    fn enumerators_have_values() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        assert_eq!(types.enumerator("RED"), Some(0));
        assert_eq!(types.enumerator("BLUE"), Some(-2));
        assert_eq!(types.enumerator("HUGE"), Some(0x1_0000_0001));
        assert_eq!(types.enumerator("GREY"), None);
    }

    #[test]
    fn an_answer_is_the_same_when_asked_again() {
        let types = Types::new(Blob::small_kernel()).unwrap();
        for _ in 0..3 {
            assert_eq!(types.offset("task_struct", "pid"), Some(8));
            assert_eq!(types.offset("task_struct", "none"), None);
        }
    }

    #[test]
    fn a_kernel_without_btf_answers_nothing() {
        let types = Types::none();
        assert_eq!(types.size("task_struct"), None);
        assert_eq!(types.enumerator("RED"), None);
    }
}
