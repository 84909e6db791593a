//! The ORC tables of the image and of modules, searched where they lie.
//!
//! `__start_orc_unwind_ip` holds ascending 32-bit offsets, each from its own place; `__start_orc_unwind` the
//! entries in the same order. The kernel's own index `orc_lookup` (one 32-bit number for 256 bytes of text
//! from `_stext`) bounds the search where it proves right, so that few pages are touched.

use std::cell::RefCell;
use std::collections::HashMap;

use super::code::{Code, MadeCode};
use super::orc_entry::{OrcEntry, OrcForm};
use crate::{AddressSpace, ReadError, Symbols};

/// Entries of one table at most: the largest distribution kernels have half a million.
const MAX_ENTRIES: u64 = 1 << 23;
/// Bytes of text of one number of the index (`LOOKUP_BLOCK_SIZE`).
const BLOCK: u64 = 256;
/// Answers kept at most.
const MAX_CACHED: usize = 1 << 14;

/// One table.
#[derive(Debug, Clone, Copy)]
struct Table {
    ips: u64,
    entries: u64,
    count: u64,
}

/// The kernel's index.
#[derive(Debug, Clone, Copy)]
struct Index {
    numbers: u64,
    count: u64,
    text: u64,
}

/// All ORC tables of a kernel.
pub(super) struct OrcTables {
    form: OrcForm,
    image: Table,
    index: Option<Index>,
    cached: RefCell<HashMap<u64, Option<OrcEntry>>>,
}

impl OrcTables {
    /// Finds the tables by their symbols; `None` for a kernel without.
    pub(super) fn find(space: &AddressSpace<'_>, symbols: &Symbols) -> Option<Self> {
        let ips = symbols.address("__start_orc_unwind_ip")?;
        let count = symbols.address("__stop_orc_unwind_ip")?.checked_sub(ips)? / 4;
        let entries = symbols.address("__start_orc_unwind")?;
        let image = Table { ips, entries, count: count.min(MAX_ENTRIES) };
        let index = Self::index(symbols);
        let cached = RefCell::default();
        let mut tables = Self { form: OrcForm::V1, image, index, cached };
        tables.form = tables.tell_form(space, symbols)?;
        tables.cached.borrow_mut().clear();
        Some(tables)
    }

    /// The form, for a report.
    pub(super) fn describe(&self) -> &'static str {
        match self.form {
            OrcForm::V1 => "ORC tables, form 1",
            OrcForm::V2 => "ORC tables, form 2",
            OrcForm::V3 => "ORC tables, form 3",
            OrcForm::V4 => "ORC tables, form 4",
        }
    }

    fn index(symbols: &Symbols) -> Option<Index> {
        let numbers = symbols.address("orc_lookup")?;
        let count = symbols.address("orc_lookup_end")?.checked_sub(numbers)? / 4;
        Some(Index { numbers, count, text: symbols.address("_stext")? })
    }

    /// By the header; without one, or with one that is not known, by what the tables say of code whose
    /// entry is known: nothing calls `ret_from_fork`, and system calls begin with a plain call.
    fn tell_form(&self, space: &AddressSpace<'_>, symbols: &Symbols) -> Option<OrcForm> {
        let mut hash = [0; 20];
        let header = symbols.address("__start_orc_header");
        if header.is_some_and(|it| space.read(it, &mut hash).is_ok())
            && let Some(form) = OrcForm::of_header(hash)
        {
            return Some(form);
        }
        let end = ["ret_from_fork_asm", "ret_from_fork"].into_iter().find_map(|it| symbols.address(it))?;
        let call = symbols.address("schedule")?;
        let flags = |ip| {
            let number = self.search(space, self.image, ip, 0..self.image.count)?;
            space.u16(self.image.entries.checked_add(number * 6 + 4)?).ok()
        };
        match (flags(end)? & 0xf0f, flags(call)? & 0xf0f) {
            (0x400, 0x005) => Some(OrcForm::V1),
            (0x800, 0x005) => Some(OrcForm::V2),
            (0x100 | 0x900, 0x205) => Some(OrcForm::V3),
            (0x100 | 0x900, 0x203) => Some(OrcForm::V4),
            _ => None,
        }
    }

    /// What the tables say of an address; `None` for code that they do not cover.
    pub(super) fn entry(&self, code: &Code<'_, '_>, symbols: &Symbols, ip: u64) -> Option<OrcEntry> {
        if let Some(known) = self.cached.borrow().get(&ip) {
            return *known;
        }
        let found = self.look_up(code, symbols, ip);
        let mut cached = self.cached.borrow_mut();
        if cached.len() < MAX_CACHED {
            cached.insert(ip, found);
        }
        found
    }

    fn look_up(&self, code: &Code<'_, '_>, symbols: &Symbols, ip: u64) -> Option<OrcEntry> {
        let space = code.space();
        if code.in_image(ip) {
            return self.in_image(space, ip);
        }
        if let Some([count, ips, entries]) = code.module(ip).and_then(|it| it.orc) {
            let table = Table { ips, entries, count: count.min(MAX_ENTRIES) };
            let number = self.search(space, table, ip, 0..table.count)?;
            return self.read(space, table, number);
        }
        // A copy has the entry of the call in what it was copied from (`orc_ftrace_find`).
        match code.made(ip)? {
            MadeCode::Ftrace(copied) => self.in_image(space, symbols.address(copied)?),
            MadeCode::Bpf => None,
        }
    }

    fn in_image(&self, space: &AddressSpace<'_>, ip: u64) -> Option<OrcEntry> {
        let indexed = || {
            let index = self.index?;
            let block = ip.checked_sub(index.text)? / BLOCK;
            let at = index.numbers.checked_add(block.checked_mul(4)?)?;
            if block + 1 >= index.count {
                return None;
            }
            let (from, to) = (u64::from(space.u32(at).ok()?), u64::from(space.u32(at + 4).ok()?) + 1);
            if from >= to || to > self.image.count {
                return None;
            }
            let number = self.search(space, self.image, ip, from..to)?;
            // The index is guest memory, and zeros before it was made: believe it if the next entry is
            // behind the address.
            let next = number + 1;
            let right = next == self.image.count || self.image.ip(space, next).ok()? > ip;
            right.then_some(number)
        };
        let number = indexed().or_else(|| self.search(space, self.image, ip, 0..self.image.count))?;
        self.read(space, self.image, number)
    }

    /// The last entry at or before an address.
    fn search(
        &self,
        space: &AddressSpace<'_>,
        table: Table,
        ip: u64,
        among: std::ops::Range<u64>,
    ) -> Option<u64> {
        let (mut low, mut high) = (among.start, among.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if table.ip(space, middle).ok()? <= ip {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).filter(|it| *it >= among.start)
    }

    fn read(&self, space: &AddressSpace<'_>, table: Table, number: u64) -> Option<OrcEntry> {
        let mut bytes = [0; 6];
        space.read(table.entries.checked_add(number * 6)?, &mut bytes).ok()?;
        Some(OrcEntry::decode(self.form, bytes))
    }
}

impl Table {
    /// The address that an entry begins at.
    fn ip(self, space: &AddressSpace<'_>, number: u64) -> Result<u64, ReadError> {
        let at = self.ips.wrapping_add(number * 4);
        Ok(at.wrapping_add_signed(i64::from(space.u32(at)?.cast_signed())))
    }
}
