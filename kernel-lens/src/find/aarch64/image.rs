//! How far an image reaches, by the tables that map it.

use std::cell::Cell;

use super::Aarch64Kernel;
use super::header::{self, Header, MAX_IMAGE};
use super::tables::{BUDGET, Tables};
use super::trial::{Executed, Trial};
use crate::arch::Aarch64Paging;
use crate::find::ImageRun;
use crate::{ReadError, Recorder};

/// Segments of an image begin on multiples of this (`SEGMENT_ALIGN`), as the image does.
const STEP: u64 = 64 << 10;
/// Steps of an image in a row that are not mapped: the init sections, freed after boot.
const MAX_GAP: u64 = (24 << 20) / STEP;
/// Mapped steps that an image has at least.
const MIN_STEPS: u64 = 16;

/// Descriptor bits of what is neither written nor executed by the kernel.
const READ_ONLY: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 53;

/// The image at a distance from its guest-physical place, up to the last step that is mapped there.
pub(super) fn extent(
    tables: &Tables<'_, '_>,
    header: &Header,
    distance: u64,
) -> Result<Option<ImageRun>, ReadError> {
    let virt = header.phys.wrapping_add(distance);
    let (mut mapped, mut end, mut gap) = (0, 0, 0);
    let (mut constants, mut from) = (0..0, 0);
    for at in (0..header.len).step_by(STEP as usize) {
        let leaf = tables.leaf(virt.wrapping_add(at)).ok().flatten();
        let leaf = leaf.filter(|it| it.0 == header.phys.wrapping_add(at));
        match leaf {
            Some(_) => (mapped, end, gap) = (mapped + 1, at + STEP, 0),
            None => gap += 1,
        }
        if !leaf.is_some_and(|it| it.1 & READ_ONLY != 0 && it.1 & NO_EXECUTE != 0) {
            from = at + STEP;
        } else if at + STEP - from > constants.end - constants.start {
            constants = from..at + STEP;
        }
        if gap > MAX_GAP {
            break;
        }
    }
    // A header tells where the image ends; without one the last mapped step does.
    let len = if header.len < MAX_IMAGE { header.len } else { end };
    if mapped < MIN_STEPS || virt.checked_add(len).is_none() {
        return Ok(None);
    }
    let mut image = ImageRun::new(virt, header.phys, len);
    image.constants = virt + constants.start..virt + constants.end;
    Ok(Some(image))
}

/// The kernel whose tables are known, from an address in its text (the vectors).
pub(super) fn around(
    memory: &Recorder<'_>,
    paging: Aarch64Paging,
    inside: u64,
    executed: &Executed,
) -> Result<Option<Aarch64Kernel>, ReadError> {
    let budget = Cell::new(BUDGET);
    let whole = crate::PhysRange { start: 0, end: 0 };
    let tables = Tables::new(memory, paging, 0, whole, &budget);
    let Some((phys, _)) = tables.leaf(inside)? else { return Ok(None) };
    // The text begins where nothing of this distance is mapped below; the header is 64 KiB below that.
    let mut start = phys & !(STEP - 1);
    let distance = inside.wrapping_sub(phys);
    let lowest = start.saturating_sub(MAX_IMAGE);
    let mut found = None;
    while start > lowest {
        let below = header::at(memory, start)?;
        if let Some(header) = below.filter(|it| phys - start < it.len) {
            found = Some(header);
            break;
        }
        if !tables.maps(start, distance) {
            start += STEP;
            break;
        }
        start -= STEP;
    }
    let header = found.unwrap_or(Header { phys: start, len: MAX_IMAGE, granule: Some(paging.granule) });
    let text = phys & !(STEP - 1);
    let trial = Trial { memory, header, budget: &budget, executed, record: false };
    trial.kernel(paging, text)
}
