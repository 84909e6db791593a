//! Where the count and the names lie, told from the table of tokens behind them.

use super::encoding::aligned;
use super::names::{Walk, look_like_names, walk};
use super::token_table::TokenTable;
use crate::find::ImageRun;
use crate::symbols::Tokens;
use crate::{ReadError, Recorder};

/// From the count to the tokens at most: names, markers and a sequence of 200,000 symbols are 4 MiB.
pub(super) const MAX_DISTANCE: u64 = 16 << 20;
const CHUNK: usize = 256 << 10;
/// Symbols of a kernel at least and at most.
const MIN_COUNT: usize = 512;
pub(super) const MAX_COUNT: usize = 2 << 20;
/// Bytes of the tables by symbol at least and at most.
const PER_SYMBOL: std::ops::RangeInclusive<usize> = 3..=128;
/// Names that are walked through in vain before giving up.
const MAX_WALKED: usize = 8 << 20;
/// Places that are looked at as the start of names.
const MAX_LOOKS: usize = 1 << 16;

/// Where the count and the names are, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) num_syms: u64,
    pub(super) names: u64,
    pub(super) count: usize,
    pub(super) walk: Walk,
}

/// Looks backward from the tokens for a count with as many names behind it.
pub(super) fn search(
    memory: &Recorder<'_>,
    image: &ImageRun,
    table: &TokenTable,
) -> Result<Option<Layout>, ReadError> {
    let end = table.virt;
    let lowest = (end.saturating_sub(MAX_DISTANCE) & !7).max(aligned(image.virt, 8));
    // Filled from behind as far as it takes: the rest costs nothing.
    let mut bytes = vec![0; end.saturating_sub(lowest) as usize];
    let mut budget = Budget { walked: MAX_WALKED, looks: MAX_LOOKS };
    let mut filled = bytes.len();
    while filled > 0 {
        let from = filled.saturating_sub(CHUNK) & !7;
        image.scan(memory, lowest + from as u64, &mut bytes[from..filled])?;
        for at in (from..filled).step_by(4).rev() {
            let Some(count) = word(&bytes, at).filter(|it| plausible(*it, bytes.len() - at)) else {
                continue;
            };
            let num_syms = lowest + at as u64;
            for names in [num_syms + 4, aligned(num_syms + 4, 8)] {
                let Some(names_bytes) = bytes.get((names - lowest) as usize..) else { continue };
                let Some(walk) = budget.try_names(names_bytes, names, count, &table.tokens) else { continue };
                return Ok(Some(Layout { num_syms, names, count, walk }));
            }
            if budget.is_spent() {
                return Ok(None);
            }
        }
        filled = from;
    }
    Ok(None)
}

/// The same where the places are known.
pub(super) fn given(
    memory: &Recorder<'_>,
    image: &ImageRun,
    num_syms: u64,
    names: u64,
    table: &TokenTable,
) -> Result<Option<Layout>, ReadError> {
    let mut count = [0; 4];
    image.scan(memory, num_syms, &mut count)?;
    let count = u32::from_le_bytes(count) as usize;
    let len = table.virt.checked_sub(names).filter(|it| *it <= MAX_DISTANCE && image.contains(names));
    let Some(len) = len.filter(|it| plausible(count, *it as usize)) else { return Ok(None) };
    let mut bytes = vec![0; len as usize];
    image.scan(memory, names, &mut bytes)?;
    Ok(walk(&bytes, names, count).map(|walk| Layout { num_syms, names, count, walk }))
}

/// Whether tables of `count` symbols may be as long.
fn plausible(count: usize, len: usize) -> bool {
    (MIN_COUNT..=MAX_COUNT).contains(&count)
        && count * PER_SYMBOL.start() <= len
        && len <= count * PER_SYMBOL.end()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_le_bytes(*word) as usize)
}

/// What a search may still do in vain.
struct Budget {
    walked: usize,
    looks: usize,
}

impl Budget {
    fn try_names(&mut self, bytes: &[u8], virt: u64, count: usize, tokens: &Tokens) -> Option<Walk> {
        if self.is_spent() {
            return None;
        }
        self.looks -= 1;
        if !look_like_names(bytes, tokens) {
            return None;
        }
        self.walked = self.walked.saturating_sub(count);
        walk(bytes, virt, count)
    }

    fn is_spent(&self) -> bool {
        self.walked == 0 || self.looks == 0
    }
}
