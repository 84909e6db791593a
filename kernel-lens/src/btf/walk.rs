//! Walks over types: through typedefs, into structures, along paths. Every walk has a bound, since a blob
//! may say that a type is a typedef of itself.

use super::path::Step;
use super::unit::{Record, Unit};
use super::{Types, kind};

/// Typedefs and qualifiers on top of each other at most; kernels have six.
const MAX_ALIASES: usize = 64;
/// Structures without a name inside of each other, and dimensions of an array, at most.
const MAX_NESTED: u32 = 32;
/// Members looked at in one search: the largest structures of a kernel have two thousand with all that is
/// inside of them.
const MAX_MEMBERS: usize = 1 << 16;
/// Bytes of a pointer: both architectures have 64 bits.
const POINTER: u64 = 8;

/// A type: an id in the count of one unit and what it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeRef {
    pub(super) unit: usize,
    pub(super) id: u32,
}

/// A member somewhere in a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) of: TypeRef,
    /// Bits from the start of the outermost structure.
    pub(super) bit: u64,
    /// Its bits, if it is a bit-field.
    pub(super) width: Option<u8>,
}

/// One entry of a structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: u32,
    pub(super) place: Place,
}

impl Types {
    /// A unit and a type of it as that unit counts: a module's id below its first is vmlinux's.
    pub(super) fn record(&self, at: TypeRef) -> Option<(&Unit, Record)> {
        let unit = self.units.get(at.unit)?;
        let unit = if at.id < unit.first_id { self.units.first()? } else { unit };
        Some((unit, unit.record(at.id)?))
    }

    /// A string as a unit counts.
    pub(super) fn string(&self, unit: usize, at: u32) -> Option<&[u8]> {
        let unit = self.units.get(unit)?;
        let unit = if at < unit.first_string { self.units.first()? } else { unit };
        unit.own_string(at)
    }

    /// The type behind typedefs and qualifiers.
    pub(super) fn resolve(&self, mut at: TypeRef) -> Option<(TypeRef, Record)> {
        for _ in 0..MAX_ALIASES {
            let (_, record) = self.record(at)?;
            if !kind::is_alias(record.kind) {
                return Some((at, record));
            }
            at.id = record.word;
        }
        None
    }

    /// Bytes of a type; `None` for functions, for what is only declared, and for `void`.
    pub(super) fn size_of(&self, mut at: TypeRef) -> Option<u64> {
        let mut count = 1u64;
        for _ in 0..MAX_NESTED {
            let (found, record) = self.resolve(at)?;
            let size = match record.kind {
                kind::PTR => POINTER,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                    u64::from(record.word)
                }
                kind::ARRAY => {
                    let (element, len) = self.array(found)?;
                    count = count.checked_mul(len)?;
                    at = element;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// The element and the length of an array: `struct btf_array { type, index_type, nelems }`.
    pub(super) fn array(&self, at: TypeRef) -> Option<(TypeRef, u64)> {
        let (at, record) = self.resolve(at)?;
        let (unit, _) = self.record(at)?;
        if record.kind != kind::ARRAY {
            return None;
        }
        let element = TypeRef { unit: at.unit, id: unit.word(record.body)? };
        Some((element, u64::from(unit.word(record.body + 8)?)))
    }

    /// What a pointer leads to.
    pub(super) fn target(&self, at: TypeRef) -> Option<TypeRef> {
        let (at, record) = self.resolve(at)?;
        (record.kind == kind::PTR).then_some(TypeRef { unit: at.unit, id: record.word })
    }

    /// The entries of a structure or union, in its own bits.
    pub(super) fn entries(&self, at: TypeRef) -> Option<impl Iterator<Item = Entry> + '_> {
        let (at, record) = self.resolve(at)?;
        let (unit, _) = self.record(at)?;
        let len = if matches!(record.kind, kind::STRUCT | kind::UNION) { record.vlen as usize } else { 0 };
        Some((0..len).filter_map(move |index| {
            let from = record.body + index * kind::MEMBER;
            let of = TypeRef { unit: at.unit, id: unit.word(from + 4)? };
            let word = unit.word(from + 8)?;
            let place = self.place(of, word, record.flag);
            Some(Entry { name: unit.word(from)?, place })
        }))
    }

    /// What `btf_member.offset` says. With the flag of the structure it holds the width of a bit-field;
    /// without it (pahole before 1.13) the width is that of an integer made for the purpose.
    fn place(&self, of: TypeRef, word: u32, flag: bool) -> Place {
        if flag {
            let width = (word >> 24) as u8;
            return Place { of, bit: u64::from(word & 0xff_ffff), width: (width != 0).then_some(width) };
        }
        let mut place = Place { of, bit: u64::from(word), width: None };
        if let Some((found, record)) = self.resolve(of)
            && record.kind == kind::INT
            && let Some((unit, _)) = self.record(found)
            && let Some(encoding) = unit.word(record.body)
            && (encoding & 0xff) as u64 != u64::from(record.word) * 8
        {
            place.bit += u64::from(encoding >> 16 & 0xff);
            place.width = Some(encoding as u8).filter(|it| *it != 0);
        }
        place
    }

    /// Follows a path from a type.
    pub(super) fn follow(&self, from: TypeRef, steps: &[Step<'_>]) -> Option<Place> {
        let mut place = Place { of: from, bit: 0, width: None };
        let mut budget = MAX_MEMBERS;
        for step in steps {
            let inner = match step {
                Step::Member(name) => self.find_member(place.of, name.as_bytes(), &mut budget, 0)?,
                Step::Element(index) => {
                    let (element, len) = self.array(place.of)?;
                    // An array without a length is one that goes on behind the structure.
                    if len != 0 && *index >= len {
                        return None;
                    }
                    let bit = self.size_of(element)?.checked_mul(*index)?.checked_mul(8)?;
                    Place { of: element, bit, width: None }
                }
            };
            place = Place { bit: place.bit.checked_add(inner.bit)?, ..inner };
        }
        Some(place)
    }

    fn find_member(&self, of: TypeRef, name: &[u8], budget: &mut usize, depth: u32) -> Option<Place> {
        if depth > MAX_NESTED {
            return None;
        }
        for Entry { name: at, place } in self.entries(of)? {
            *budget = budget.checked_sub(1)?;
            if at != 0 {
                if self.string_is(place.of.unit, at, name) {
                    return Some(place);
                }
                continue;
            }
            if let Some(inner) = self.find_member(place.of, name, budget, depth + 1) {
                return Some(Place { bit: place.bit.checked_add(inner.bit)?, ..inner });
            }
        }
        None
    }

    /// Whether a string, as a unit counts, is this one.
    pub(super) fn string_is(&self, unit: usize, at: u32, name: &[u8]) -> bool {
        let Some(unit) = self.units.get(unit) else { return false };
        let unit = if at < unit.first_string { self.units.first() } else { Some(unit) };
        unit.is_some_and(|it| it.own_string_is(at, name))
    }
}
