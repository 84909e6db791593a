//! One blob of BTF with its index: the vmlinux one, or a module's that goes on where that ends.
//!
//! No type is made into an object: the index holds where the record of every 32nd id begins, and the records
//! are read when somebody asks.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

use super::enumerators::Enumerators;
use super::header::{Header, u32_at};
use super::names::Names;
use super::{BtfError, KnownTypes, kind};
use crate::memory::{Key, Shared};

/// Types of one blob at most: `BTF_MAX_TYPE` of the kernel.
const MAX_TYPES: usize = 0xf_ffff;
/// Bytes of a name at most: `KSYM_NAME_LEN`. The kernel takes no longer one.
pub(super) const MAX_NAME: usize = 512;

/// Records of which the first one's place is kept.
const STRIDE: usize = 32;
/// Records that are looked at one by one at most: a whole examination needs a hundredth. Types of a hostile
/// guest may lead from each to each.
const MAX_STEPS: u64 = 1 << 25;
/// Answers that are kept at most.
const MAX_ASKED: usize = 4096;

/// The record of one type, without what follows `struct btf_type`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Where its name begins in the strings.
    pub(super) name: u32,
    pub(super) kind: u8,
    pub(super) flag: bool,
    /// Members, enumerators or parameters.
    pub(super) vlen: u32,
    /// A size or a type id, by kind.
    pub(super) word: u32,
    /// Where what follows begins in the types.
    pub(super) body: usize,
}

/// A blob and its index.
#[derive(Debug)]
pub(super) struct Unit {
    /// Empty for vmlinux.
    pub(super) module: String,
    blob: Shared,
    types: Range<usize>,
    strings: Range<usize>,
    layout: Range<usize>,
    /// The id of its first type: 1, or the next one after the base's last.
    pub(super) first_id: u32,
    /// Where its strings begin in the count of base and module.
    pub(super) first_string: u32,
    /// Types of its own.
    count: usize,
    /// Where every 32nd record begins in the types.
    starts: Vec<u32>,
    /// Made when the first name is asked for whose answer is not known.
    names: OnceCell<Names>,
    /// Names that were asked for, and the ids that have them.
    pub(super) asked: RefCell<BTreeMap<String, Vec<u32>>>,
    /// Whether whoever wrote it told signed enums from unsigned ones (pahole since `ENUM64`, Linux v6.0).
    pub(super) tells_signs: bool,
    pub(super) enumerators: OnceCell<Enumerators>,
    /// Enumerators that were asked for, and their values.
    pub(super) values: RefCell<BTreeMap<String, Option<i64>>>,
    steps: Cell<u64>,
}

impl Unit {
    /// Indexes a blob; `base` is what it continues.
    pub(super) fn new(mut blob: Shared, module: &str, base: Option<&Unit>) -> Result<Self, BtfError> {
        let header = Header::parse(&blob, blob.len())?;
        blob.truncate(header.end());
        let first_id = base.map_or(1, Unit::next_id);
        let first_string = base.map_or(0, Unit::next_string);
        let mut unit = Self {
            module: module.to_owned(),
            blob,
            types: header.types,
            strings: header.strings,
            layout: header.layout,
            first_id,
            first_string,
            count: 0,
            starts: Vec::new(),
            names: OnceCell::new(),
            asked: RefCell::default(),
            tells_signs: base.is_some_and(|it| it.tells_signs),
            enumerators: OnceCell::new(),
            values: RefCell::default(),
            steps: Cell::new(0),
        };
        unit.index(base)?;
        Ok(unit)
    }

    /// The blob of vmlinux whose index is known, for bytes that are those of an earlier look.
    pub(super) fn known(mut blob: Shared, known: &KnownTypes) -> Option<Self> {
        let header = Header::parse(&blob, blob.len()).ok()?;
        blob.truncate(header.end());
        let count = (known.count as usize).min(MAX_TYPES);
        Some(Self {
            module: String::new(),
            blob,
            types: header.types,
            strings: header.strings,
            layout: header.layout,
            first_id: 1,
            first_string: 0,
            count,
            starts: known.starts.clone(),
            names: OnceCell::new(),
            asked: known.asked.clone().into(),
            tells_signs: known.tells_signs,
            enumerators: OnceCell::new(),
            values: known.values.clone().into(),
            steps: Cell::new(0),
        })
    }

    /// What was learned of it, for a look at the same bytes.
    pub(super) fn learned(&self) -> KnownTypes {
        let key = Key::draw();
        KnownTypes {
            key: key.0,
            digest: key.digest(&self.blob),
            count: self.count as u32,
            starts: self.starts.clone(),
            tells_signs: self.tells_signs,
            asked: self.asked.borrow().clone(),
            values: self.values.borrow().clone(),
        }
    }

    /// Walks the records once. A module's type may have a name that is a string of its base.
    fn index(&mut self, base: Option<&Unit>) -> Result<(), BtfError> {
        let layout = self.layout_bytes();
        let types = self.type_bytes();
        let truncated = || BtfError::Truncated { part: "list of types", len: self.blob.len() };
        let mut starts = Vec::with_capacity(types.len() / 24 / STRIDE);
        let mut named = Vec::with_capacity(types.len() / 48);
        let mut tells_signs = self.tells_signs;
        let (mut at, mut count) = (0, 0);
        while at < types.len() {
            let id = self.first_id.saturating_add(count as u32);
            if count >= MAX_TYPES {
                return Err(BtfError::TooLarge { what: "types", limit: MAX_TYPES });
            }
            let record = record_at(types, at).ok_or_else(truncated)?;
            let kind = record.kind;
            let tail = tail(layout, &record).ok_or(BtfError::UnknownKind { id, kind })?;
            if is_named(&record) {
                named.push((record.name, id));
            }
            tells_signs |= kind == kind::ENUM64 || (kind == kind::ENUM && record.flag);
            if count % STRIDE == 0 {
                starts.push(at as u32);
            }
            count += 1;
            at = record.body.checked_add(tail).filter(|it| *it <= types.len()).ok_or_else(truncated)?;
        }
        let names = self.names_of(named.into_iter(), base);
        (self.count, self.starts, self.names, self.tells_signs) = (count, starts, names.into(), tells_signs);
        Ok(())
    }

    fn names_of(&self, named: impl Iterator<Item = (u32, u32)>, base: Option<&Unit>) -> Names {
        Names::new(named.filter_map(|(name, id)| Some((self.home(name, base).own_string(name)?, id))))
    }

    /// Whose string one is: a module's may be its base's.
    pub(super) fn home<'a>(&'a self, string: u32, base: Option<&'a Unit>) -> &'a Unit {
        base.filter(|_| string < self.first_string).unwrap_or(self)
    }

    /// The ids of its own types of a name, ascending.
    pub(super) fn ids(&self, name: &str, base: Option<&Unit>) -> Vec<u32> {
        if let Some(known) = self.asked.borrow().get(name) {
            return known.clone();
        }
        let names = self.names.get_or_init(|| {
            let named = self.records().filter(|it| is_named(&it.1));
            self.names_of(named.map(|(id, record)| (record.name, id)), base)
        });
        let candidates = names.candidates(name.as_bytes());
        let text = name.as_bytes();
        let is = |at: u32| self.home(at, base).own_string_is(at, text);
        let is = |id: &u32| self.record(*id).is_some_and(|it| is(it.name));
        let found: Vec<u32> = candidates.filter(is).collect();
        let mut asked = self.asked.borrow_mut();
        if asked.len() < MAX_ASKED {
            asked.insert(name.to_owned(), found.clone());
        }
        found
    }

    /// Its own records with their ids, ascending.
    pub(super) fn records(&self) -> impl Iterator<Item = (u32, Record)> + '_ {
        self.records_from(0)
    }

    /// The records from a multiple of the stride on.
    fn records_from(&self, stride: usize) -> impl Iterator<Item = (u32, Record)> + '_ {
        let (layout, types) = (self.layout_bytes(), self.type_bytes());
        let mut at = self.starts.get(stride).map_or(usize::MAX, |it| *it as usize);
        let ids = (stride * STRIDE..self.count).map(|it| self.first_id.saturating_add(it as u32));
        ids.map_while(move |id| {
            let record = record_at(types, at)?;
            at = record.body.checked_add(tail(layout, &record)?)?;
            Some((id, record))
        })
    }

    /// The id after its last type.
    pub(super) fn next_id(&self) -> u32 {
        self.first_id.saturating_add(self.count as u32)
    }

    /// Where the strings of what continues it begin.
    fn next_string(&self) -> u32 {
        self.first_string.saturating_add(self.strings.len() as u32)
    }

    /// How many types are its own.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes that it keeps.
    pub(super) fn memory(&self) -> usize {
        self.blob.len() + self.starts.capacity() * 4 + self.names.get().map_or(0, Names::memory)
    }

    /// The record of one of its own types.
    pub(super) fn record(&self, id: u32) -> Option<Record> {
        let number = id.checked_sub(self.first_id)? as usize;
        self.steps.set(self.steps.get() + 1 + (number % STRIDE) as u64);
        if self.steps.get() > MAX_STEPS {
            return None;
        }
        self.records_from(number / STRIDE).nth(number % STRIDE).map(|it| it.1)
    }

    /// A word of what follows a record.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        u32_at(self.type_bytes(), at)
    }

    /// One of its own strings, without its NUL. Counted as ids are: a module's begin after the base's.
    pub(super) fn own_string(&self, at: u32) -> Option<&[u8]> {
        let strings = self.blob.get(self.strings.clone())?;
        let rest = strings.get(at.checked_sub(self.first_string)? as usize..)?;
        let rest = &rest[..rest.len().min(MAX_NAME)];
        rest.get(..memchr::memchr(0, rest)?)
    }

    /// Whether one of its own strings is this one.
    pub(super) fn own_string_is(&self, at: u32, name: &[u8]) -> bool {
        let rest = self.blob.get(self.strings.clone()).and_then(|strings| {
            strings.get(at.checked_sub(self.first_string)? as usize..)?.strip_prefix(name)
        });
        rest.is_some_and(|it| it.first() == Some(&0))
    }

    fn layout_bytes(&self) -> &[u8] {
        self.blob.get(self.layout.clone()).unwrap_or_default()
    }

    fn type_bytes(&self) -> &[u8] {
        self.blob.get(self.types.clone()).unwrap_or_default()
    }
}

/// `struct btf_type`. The kind had 5 bits and the count 16 up to v7.0, with zeros between.
fn record_at(types: &[u8], at: usize) -> Option<Record> {
    let bytes = types.get(at..at.checked_add(kind::RECORD)?)?;
    let info = u32_at(bytes, 4)?;
    Some(Record {
        name: u32_at(bytes, 0)?,
        kind: (info >> 24) as u8 & 0x7f,
        flag: info >> 31 != 0,
        vlen: info & 0xff_ffff,
        word: u32_at(bytes, 8)?,
        body: at + kind::RECORD,
    })
}

/// Whether a record has a name that is asked for.
fn is_named(record: &Record) -> bool {
    record.name != 0 && kind::has_public_name(record.kind)
}

/// Bytes of what follows a record.
fn tail(layout: &[u8], record: &Record) -> Option<usize> {
    let vlen = record.vlen as usize;
    kind::tail(record.kind, vlen).or_else(|| tail_by_layout(layout, record.kind, vlen))
}

/// `struct btf_layout { u8 info_sz; u8 elem_sz; u16 flags; }`, one for each kind from 0.
fn tail_by_layout(layout: &[u8], kind: u8, vlen: usize) -> Option<usize> {
    if kind == 0 {
        return None;
    }
    let entry = layout.get(usize::from(kind) * 4..usize::from(kind) * 4 + 4)?;
    vlen.checked_mul(usize::from(entry[1]))?.checked_add(usize::from(entry[0]))
}

#[cfg(test)]
mod tests {
    use super::super::Types;
    use super::super::test_blob::Blob;
    use super::*;

    #[test]
    fn a_kind_of_the_future_is_skipped_by_its_layout() {
        let mut blob = Blob::new();
        blob.layout(100, 4, 12);
        blob.add("site", 100, false, 2, 0, &[0; 7]);
        let int = blob.int("int", 4);
        blob.structure("mutex", 8, false, &[("owner", int, 32)]);
        let types = Types::new(blob.bytes()).unwrap();
        assert_eq!(types.offset("mutex", "owner"), Some(4));
    }

    #[test]
    fn a_kind_of_the_future_without_a_layout_is_an_error_that_names_it() {
        let mut blob = Blob::new();
        blob.int("int", 4);
        blob.add("site", 100, false, 2, 0, &[0; 7]);
        let error = Types::new(blob.bytes()).unwrap_err();
        assert!(matches!(error, BtfError::UnknownKind { id: 2, kind: 100 }), "{error}");
    }

    #[test]
    fn a_module_goes_on_where_its_base_ends() {
        let base = Blob::small_kernel_blob();
        let mut types = Types::new(base.bytes()).unwrap();
        let mut module = Blob::module(types.len() as u32, base.strings_len());
        let number = module.pointer(1);
        module.structure("virtblk_req", 16, false, &[("data", number, 0), ("status", 1, 64)]);
        types.add_module("virtio_blk", module.bytes()).unwrap();
        let status = types.member("virtblk_req", "status").unwrap();
        assert_eq!((status.offset, status.size, status.type_name.as_str()), (8, 4, "int"));
        assert_eq!(types.pointee("virtblk_req", "data").unwrap(), "int");
        assert_eq!(types.offset("task_struct", "pid"), Some(8));
        assert_eq!(types.modules().collect::<Vec<_>>(), ["virtio_blk"]);
    }

    #[test]
    fn names_that_a_module_takes_from_its_base_are_found() {
        let mut base = Blob::small_kernel_blob();
        let (port, open) = (base.string("port"), base.string("PORT_OPEN"));
        let mut types = Types::new(base.bytes()).unwrap();
        let mut module = Blob::module(types.len() as u32, base.strings_len());
        let id = module.string("id");
        module.add_named(port, kind::STRUCT, false, 1, 4, &[id, 1, 0]);
        module.add_named(0, kind::ENUM, false, 1, 4, &[open, 7]);
        types.add_module("virtio_console", module.bytes()).unwrap();
        assert_eq!(types.size("port"), Some(4));
        assert_eq!(types.offset("struct port", "id"), Some(0));
        assert_eq!(types.enumerator("PORT_OPEN"), Some(7));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let whole = Blob::small_kernel();
        for len in 0..whole.len() {
            assert!(Types::new(whole[..len].to_vec()).is_err(), "{len}");
        }
        let mut turned = whole.clone();
        turned.swap(0, 1);
        assert!(matches!(Types::new(turned), Err(BtfError::BigEndian)));
    }
}
