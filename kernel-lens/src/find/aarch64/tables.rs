//! Page tables of arm64 under trial: looked at past the record, for there are many and few are right.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::arch::{Aarch64Paging, Granule};
use crate::{PhysRange, ReadError, Recorder};

const VALID: u64 = 1;
const TABLE: u64 = 2;
/// Bits that a page's descriptor has and a table's has not: attribute index and rights below, software's bits
/// and execution rights above. Without them tables seen as if they had one level more would map as much,
/// for the linear map maps the tables. (The access flag, bit 10, may be set in a table since v6.14.)
const NOT_OF_TABLE: u64 = 0x07fc_0000_0000_00fc;
/// Bytes of tables that are read for all roots together at most.
pub(super) const BUDGET: u64 = 192 << 20;
/// Bytes of tables that are kept at once at most.
const MAX_KEPT: usize = 4 << 20;
/// Places where one root maps the image: the image's own, the linear map, the trampoline's.
const MAX_PLACES: usize = 8;
/// Tables and blocks outside of the image that a root leads to and that the linear map must map.
const MAX_PROBES: usize = 8;

/// What kernels of a granule are built for: bits of an address, and whether descriptors have 52-bit
/// addresses (arch/arm64/Kconfig; without 52 bits those of 64 KiB granules have zeros there).
pub(super) fn trials(granule: Granule) -> &'static [(u32, bool)] {
    match granule {
        Granule::K4 => &[(48, false), (52, true), (39, false)],
        Granule::K16 => &[(47, false), (48, false), (52, true), (36, false)],
        Granule::K64 => &[(52, true), (48, true), (42, true)],
    }
}

/// How many levels there are.
fn levels(paging: Aarch64Paging) -> u32 {
    let page = paging.granule.shift();
    (paging.virt_bits - page).div_ceil(page - 3)
}

/// log2 of what an entry of the top table spans.
fn top_shift(paging: Aarch64Paging) -> u32 {
    let page = paging.granule.shift();
    page + (page - 3) * (levels(paging) - 1)
}

/// Entries of the top table.
pub(super) fn top_entries(paging: Aarch64Paging) -> usize {
    1 << (paging.virt_bits - top_shift(paging))
}

/// Where a root maps a page of the image, and whatever else it leads to.
pub(super) struct Tables<'a, 'm> {
    memory: &'a Recorder<'m>,
    /// Whether what is read goes into the record.
    record: bool,
    paging: Aarch64Paging,
    /// A page of the image's text.
    text: u64,
    image: PhysRange,
    /// Bytes that may still be read.
    budget: &'a Cell<u64>,
    /// Distances from guest-physical to guest-virtual addresses at which the page is mapped.
    places: RefCell<Vec<u64>>,
    probes: RefCell<Vec<u64>>,
    /// Tables that were read, for the same few are on the way to everything.
    kept: RefCell<HashMap<u64, Rc<[u8]>>>,
}

impl<'a, 'm> Tables<'a, 'm> {
    pub(super) fn new(
        memory: &'a Recorder<'m>,
        paging: Aarch64Paging,
        text: u64,
        image: PhysRange,
        budget: &'a Cell<u64>,
    ) -> Self {
        let (places, probes, kept) = Default::default();
        Self { memory, record: false, paging, text, image, budget, places, probes, kept }
    }

    /// The same with a record of what is read: for the tables that were chosen.
    pub(super) fn recorded(self, record: bool) -> Self {
        Self { record, ..self }
    }

    /// Distances at which the root maps the page.
    pub(super) fn places(&self) -> Result<Vec<u64>, ReadError> {
        self.places.borrow_mut().clear();
        let half = u64::MAX.checked_shl(self.paging.virt_bits).unwrap_or(0);
        self.walk(self.paging.root, levels(self.paging) - 1, half, top_entries(self.paging))?;
        Ok(self.places.borrow().clone())
    }

    /// Whether a distance is that of the linear map: it maps whatever is RAM, and so the tables themselves.
    pub(super) fn is_linear(&self, distance: u64) -> bool {
        let probes = self.probes.borrow();
        let mapped = probes.iter().filter(|it| self.maps(**it, distance)).count();
        mapped > 0 && mapped * 2 > probes.len()
    }

    /// Whether the address so far from a guest-physical one leads to it.
    pub(super) fn maps(&self, phys: u64, distance: u64) -> bool {
        let virt = phys.wrapping_add(distance);
        self.leaf(virt).ok().flatten().is_some_and(|it| it.0 == phys)
    }

    /// Where an address leads, and the descriptor that says so.
    pub(super) fn leaf(&self, virt: u64) -> Result<Option<(u64, u64)>, ReadError> {
        let page = self.paging.granule.shift();
        if virt < u64::MAX << self.paging.virt_bits {
            return Ok(None);
        }
        let mut table = self.paging.root;
        for above in (0..levels(self.paging)).rev() {
            let shift = page + (page - 3) * above;
            let bits = (page - 3).min(self.paging.virt_bits - shift);
            let index = ((virt >> shift) & ((1 << bits) - 1)) as usize;
            let Some(bytes) = self.read(table, 1 << bits)? else { return Ok(None) };
            let word = bytes.as_chunks::<8>().0.get(index).copied();
            let found = u64::from_le_bytes(word.unwrap_or_default());
            match self.target(found, above) {
                None => return Ok(None),
                Some((next, true)) => return Ok(Some((next | (virt & ((1 << shift) - 1)), found))),
                Some((next, false)) => table = next,
            }
        }
        Ok(None)
    }

    /// Whether a page may be a top table: nothing in it but descriptors that lead into RAM, and no more of
    /// them than such a table has.
    pub(super) fn may_be_top(&self, page: &[u8]) -> bool {
        let count = top_entries(self.paging);
        let ranges = self.memory.memory().ranges();
        let mut valid = 0;
        for (index, word) in page.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if word == 0 {
                continue;
            }
            let Some((next, _)) = self.target(word, levels(self.paging) - 1) else { return false };
            if index >= count || !ranges.iter().any(|it| it.contains(next)) {
                return false;
            }
            valid += 1;
        }
        valid > 0
    }

    /// Where a descriptor leads and whether it maps memory.
    fn target(&self, descriptor: u64, above: u32) -> Option<(u64, bool)> {
        let (page, next) = (self.paging.granule.shift(), self.paging.address(descriptor));
        match (descriptor & VALID != 0, descriptor & TABLE != 0, above) {
            (false, ..) | (true, false, 0) => None,
            (true, true, 0) => Some((next, true)),
            (true, true, _) => (descriptor & NOT_OF_TABLE == 0).then_some((next, false)),
            // Blocks: 2 MiB and 1 GiB of 4 KiB pages, 32 MiB of 16 KiB, 512 MiB of 64 KiB; more with LPA.
            (true, false, 1 | 2) => Some((next & !((1 << (page + (page - 3) * above)) - 1), true)),
            (true, false, _) => None,
        }
    }

    fn walk(&self, table: u64, above: u32, base: u64, count: usize) -> Result<(), ReadError> {
        let page = self.paging.granule.shift();
        let shift = page + (page - 3) * above;
        let Some(bytes) = self.read(table, count)? else { return Ok(()) };
        for (index, word) in (0u64..).zip(bytes.as_chunks::<8>().0) {
            let Some((next, leaf)) = self.target(u64::from_le_bytes(*word), above) else { continue };
            let virt = base.wrapping_add(index << shift);
            if leaf {
                if next <= self.text && self.text - next < 1 << shift {
                    self.found(virt.wrapping_sub(next));
                }
                if above > 0 {
                    self.probe(next);
                }
                continue;
            }
            self.probe(next);
            // The linear map is one distance all over: its first page tells, and the rest is left out.
            let below = above - 1;
            if let Some((first, phys)) = self.first(next, below, virt)?
                && self.maps(self.text, first.wrapping_sub(phys))
            {
                self.found(first.wrapping_sub(phys));
                continue;
            }
            self.walk(next, below, virt, 1 << (page - 3))?;
            if self.places.borrow().len() >= MAX_PLACES {
                break;
            }
        }
        Ok(())
    }

    /// The first page or block below a table.
    fn first(&self, table: u64, above: u32, base: u64) -> Result<Option<(u64, u64)>, ReadError> {
        let (mut table, mut above, mut base) = (table, above, base);
        let page = self.paging.granule.shift();
        loop {
            let Some(bytes) = self.read(table, 1 << (page - 3))? else { return Ok(None) };
            let mut targets = (0u64..).zip(bytes.as_chunks::<8>().0).filter_map(|(index, word)| {
                self.target(u64::from_le_bytes(*word), above).map(|(next, leaf)| (index, next, leaf))
            });
            let Some((index, next, leaf)) = targets.next() else { return Ok(None) };
            base = base.wrapping_add(index << (page + (page - 3) * above));
            if leaf {
                return Ok(Some((base, next)));
            }
            (table, above) = (next, above - 1);
        }
    }

    /// A table; `None` where there is none, or where enough were read.
    fn read(&self, table: u64, count: usize) -> Result<Option<Rc<[u8]>>, ReadError> {
        if let Some(kept) = self.kept.borrow().get(&table).filter(|it| it.len() == count * 8) {
            return Ok(Some(Rc::clone(kept)));
        }
        let Some(left) = self.budget.get().checked_sub(count as u64 * 8) else { return Ok(None) };
        self.budget.set(left);
        let mut bytes = vec![0; count * 8];
        let read = match self.record {
            true => self.memory.read(table, &mut bytes),
            false => self.memory.scan(table, &mut bytes),
        };
        match read {
            Ok(()) => {}
            Err(error @ (ReadError::Exhausted { .. } | ReadError::Source { .. })) => return Err(error),
            Err(_) => return Ok(None),
        }
        let bytes: Rc<[u8]> = bytes.into();
        let mut kept = self.kept.borrow_mut();
        if kept.len() * count * 8 < MAX_KEPT {
            kept.insert(table, Rc::clone(&bytes));
        }
        Ok(Some(bytes))
    }

    fn found(&self, distance: u64) {
        let mut places = self.places.borrow_mut();
        if places.len() < MAX_PLACES && !places.contains(&distance) {
            places.push(distance);
        }
    }

    /// Notes a place of RAM outside of the image.
    fn probe(&self, phys: u64) {
        let mut probes = self.probes.borrow_mut();
        let full = probes.len() >= MAX_PROBES || self.image.contains(phys);
        if !full && self.memory.memory().ranges().iter().any(|it| it.contains(phys)) {
            probes.push(phys);
        }
    }
}
