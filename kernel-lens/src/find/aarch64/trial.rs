//! One image on trial: which of its pages is the top table.

use std::cell::Cell;

use super::Aarch64Kernel;
use super::header::{Header, MAX_IMAGE};
use super::image::extent;
use super::tables::{Tables, trials};
use crate::arch::{Aarch64Paging, Granule};
use crate::find::ImageRun;
use crate::{Cpu, PhysRange, ReadError, Recorder, Registers};

/// Bytes from the image's first to its text, at most: the header's segment.
pub(super) const TEXT: u64 = 64 << 10;
/// Bytes that every image has.
const SURELY: u64 = 16 << 20;
/// Roots of one image that are tried.
const MAX_ROOTS: usize = 48;
/// Bytes of an image that are looked at in one read.
const CHUNK: usize = 1 << 20;

/// Addresses that vCPUs execute in kernel mode.
pub(super) struct Executed(Vec<u64>);

impl Executed {
    pub(super) fn of(cpus: &[Cpu]) -> Self {
        let kernel = cpus.iter().filter_map(|it| match &it.registers {
            Registers::Aarch64(it) if !it.in_user_mode() => Some(it.pc),
            _ => None,
        });
        Self(kernel.filter(|it| it >> 55 & 1 == 1).collect())
    }

    /// Whether most of them are mapped and one at least lies in the image; a module's code does not.
    fn agree(&self, tables: &Tables<'_, '_>, image: &ImageRun) -> Option<bool> {
        if self.0.is_empty() {
            return None;
        }
        let mapped = |virt: u64| tables.leaf(virt).ok().flatten().is_some();
        let count = self.0.iter().filter(|it| mapped(**it)).count();
        let inside = self.0.iter().any(|it| image.contains(*it));
        Some(inside || count * 2 > self.0.len())
    }
}

/// An image that may be one.
pub(super) struct Trial<'a, 'm> {
    pub(super) memory: &'a Recorder<'m>,
    pub(super) header: Header,
    pub(super) budget: &'a Cell<u64>,
    pub(super) executed: &'a Executed,
    /// Whether the tables go into the record.
    pub(super) record: bool,
}

impl Trial<'_, '_> {
    fn range(&self) -> PhysRange {
        // Without a header the length is a bound; what is surely of the image will do.
        let len = if self.header.len < MAX_IMAGE { self.header.len } else { SURELY };
        PhysRange { start: self.header.phys, end: self.header.phys.saturating_add(len) }
    }

    /// The kernel of the first of the image's pages that maps all of RAM too, else of the best one.
    pub(super) fn best_root(&self, tried: &mut usize) -> Result<Option<Aarch64Kernel>, ReadError> {
        let granules = self.header.granule.map_or(Granule::ALL.to_vec(), |it| vec![it]);
        let mut best = None;
        for granule in granules {
            let page = 1usize << granule.shift();
            let (range, mut roots) = (self.range(), 0);
            let mut chunk = vec![0; CHUNK.max(page)];
            let mut at = range.start.next_multiple_of(page as u64);
            while at < range.end && roots < MAX_ROOTS {
                let len = ((range.end - at) as usize).min(chunk.len()) / page * page;
                let Some(part) = chunk.get_mut(..len).filter(|it| !it.is_empty()) else { break };
                self.scan(at, part, page)?;
                for paging in self.roots(granule, at, part) {
                    roots += 1;
                    *tried += 1;
                    let Some(kernel) = self.kernel(paging, self.header.phys + TEXT)? else { continue };
                    if kernel.linear.is_some() && kernel.executed != Some(false) {
                        return Ok(Some(kernel));
                    }
                    best = super::better(best, Some(kernel));
                }
                at += len as u64;
            }
        }
        Ok(best)
    }

    /// Pages that may be a top table, with each number of bits that they may be one of.
    fn roots(&self, granule: Granule, at: u64, part: &[u8]) -> Vec<Aarch64Paging> {
        let (page, mut found) = (1usize << granule.shift(), Vec::new());
        for (root, bytes) in (at..).step_by(page).zip(part.chunks_exact(page)) {
            // Most pages are told apart by their first word.
            if first_word(bytes).is_none_or(|it| it & 1 == 0) {
                continue;
            }
            for &(virt_bits, phys_52) in trials(granule) {
                let paging = Aarch64Paging { root, granule, virt_bits, phys_52 };
                if self.tables(paging, root).may_be_top(bytes) {
                    found.push(paging);
                }
            }
        }
        found
    }

    /// Reads a part of the image; a file may hold only some of its pages.
    fn scan(&self, at: u64, part: &mut [u8], page: usize) -> Result<(), ReadError> {
        match self.memory.scan(at, part) {
            Err(error @ ReadError::Exhausted { .. }) => Err(error),
            Err(_) => self.scan_pages(at, part, page),
            Ok(()) => Ok(()),
        }
    }

    fn scan_pages(&self, at: u64, part: &mut [u8], page: usize) -> Result<(), ReadError> {
        for (phys, bytes) in (at..).step_by(page).zip(part.chunks_exact_mut(page)) {
            match self.memory.scan(phys, bytes) {
                Ok(()) => {}
                Err(error @ ReadError::Exhausted { .. }) => return Err(error),
                Err(_) => bytes.fill(0),
            }
        }
        Ok(())
    }

    /// The kernel of a root, if it maps the image.
    pub(super) fn kernel(
        &self,
        paging: Aarch64Paging,
        text: u64,
    ) -> Result<Option<Aarch64Kernel>, ReadError> {
        let tables = self.tables(paging, text);
        let places = tables.places()?;
        let (linear, image): (Vec<u64>, Vec<u64>) = places.iter().partition(|it| tables.is_linear(**it));
        let mut best = None;
        for distance in image {
            let image = extent(&tables, &self.header, distance)?;
            // The image lies where a machine of 48 bits reaches too (`VA_BITS_MIN`): this tells a table of
            // 48 bits from the start of one of 52.
            let Some(image) = image.filter(|it| it.virt >= u64::MAX << 48) else { continue };
            let executed = self.executed.agree(&tables, &image);
            let linear = linear.first().copied();
            // Without a linear map it is a table of the boot, unless it is what vCPUs run with.
            if linear.is_none() && executed != Some(true) {
                continue;
            }
            let virt_bits = bits_in_use(paging, linear);
            let kernel = Aarch64Kernel { paging, image, linear, virt_bits, executed };
            best = super::better(best, Some(kernel));
        }
        Ok(best)
    }

    fn tables(&self, paging: Aarch64Paging, text: u64) -> Tables<'_, '_> {
        Tables::new(self.memory, paging, text, self.range(), self.budget).recorded(self.record)
    }
}

fn first_word(bytes: &[u8]) -> Option<u64> {
    let mut words = bytes.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
    words.find(|it| *it != 0)
}

/// A kernel built for 52 bits with 64 KiB pages has a table of 52 on every machine. On one of 48 bits it
/// uses the end of it (commit b6d00d47e81a, v5.0), and nothing lies below.
fn bits_in_use(paging: Aarch64Paging, linear: Option<u64>) -> u32 {
    let low = linear.is_some_and(|it| it < u64::MAX << 48);
    if paging.granule == Granule::K64 && paging.virt_bits == 52 && !low { 48 } else { paging.virt_bits }
}
