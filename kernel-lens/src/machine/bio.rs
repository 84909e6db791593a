//! What a request carries: its bios, their pages, and the file whose pages they are.
//!
//! `request.bio` is a list of `struct bio`, each with an array of `struct bio_vec`. A page of the page cache
//! names its file by `mapping`, which a page behind the first of a folio does not: its `compound_head` leads to
//! that one (`compound_info` since v7.1, which need not).

use vmward_kernel_facts::machine::BlockRequest;

use super::object::Object;
use crate::{Kernel, ReadError};

/// Requests of a disk of which that is told: the oldest.
pub(super) const MAX_REQUESTS: usize = 32;
/// Bios of a request that are looked at.
const MAX_BIOS: usize = 16;
/// Pages of a request that are told.
const MAX_PAGES: usize = 32;
/// `PAGE_MAPPING_FLAGS`: the mapping of anonymous and movable pages is no file.
const NO_FILE: u64 = 3;

/// Fills in pages and file, as far as they can be read.
pub(super) fn carry(kernel: &Kernel<'_>, request: &mut BlockRequest) {
    let pages = pages(Object::new(kernel, "request", request.address)).unwrap_or_default();
    for page in pages {
        let page = first_of(page);
        if request.inode.is_none() {
            request.inode = inode(page).ok().flatten();
        }
        if !request.pages.contains(&page.at) {
            request.pages.push(page.at);
        }
    }
}

fn pages<'k, 'm>(request: Object<'k, 'm>) -> Result<Vec<Object<'k, 'm>>, ReadError> {
    let kernel = request.kernel;
    let size = kernel.types.size("bio_vec").unwrap_or(16);
    let mut pages = Vec::new();
    let mut next = request.follow("bio", "bio")?;
    for _ in 0..MAX_BIOS {
        let Some(bio) = next else { break };
        let (first, mut left) = (bio.number("bi_iter.bi_idx")?, bio.number("bi_iter.bi_size")?);
        let vectors = bio.number("bi_io_vec")?;
        let mut index = first;
        while left > 0 && pages.len() < MAX_PAGES && vectors != 0 {
            let at = vectors.wrapping_add(index.wrapping_mul(size));
            let vector = Object::new(kernel, "bio_vec", at);
            let len = vector.number("bv_len")?;
            pages.extend(vector.follow("bv_page", "page")?);
            // The first may be done in part, which only ends the walk sooner.
            left = left.saturating_sub(len.max(1));
            index += 1;
        }
        next = bio.follow("bi_next", "bio")?;
    }
    Ok(pages)
}

/// The first page of the folio that a page is of, or the page itself where that is not known.
fn first_of<'k, 'm>(page: Object<'k, 'm>) -> Object<'k, 'm> {
    const TAIL: u64 = 1;
    match page.number("compound_head") {
        Ok(head) if head & TAIL != 0 => Object::new(page.kernel, "page", head & !TAIL),
        _ => page,
    }
}

/// File system and number of the file whose page it is. The file must agree that the mapping is its own.
fn inode(page: Object<'_, '_>) -> Result<Option<(String, u64)>, ReadError> {
    let mapping = page.number("mapping")?;
    if mapping == 0 || mapping & NO_FILE != 0 {
        return Ok(None);
    }
    let mapping = Object::new(page.kernel, "address_space", mapping);
    let Some(inode) = mapping.follow("host", "inode")? else { return Ok(None) };
    if inode.number("i_mapping")? != mapping.at {
        return Ok(None);
    }
    let Some(system) = inode.follow("i_sb", "super_block")? else { return Ok(None) };
    Ok(Some((system.text("s_id")?, inode.number("i_ino")?)))
}
