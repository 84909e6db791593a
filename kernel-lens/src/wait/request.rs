//! Which disk owes the answer that a task waits for, and by which request.
//!
//! The requests that drivers have are taken from [`crate::machine::block`]; what each carries is read here:
//! its bios (`struct bio`, `include/linux/blk_types.h`) with their pages and with what their end wakes
//! (`bi_private`, `request.end_io_data`). That one of these is the waiter's own shows whose request it is.

use vmward_kernel_facts::machine::BlockRequest;
use vmward_kernel_facts::{WaitEdge, WaitKind, WaitProof, WaitTarget};

use super::Look;
use super::list::ring;
use super::sleeper::Sleeper;
use crate::Kernel;
use crate::machine::block;
use crate::machine::object::Object;

/// Bios of a request at most: plugs merge a few dozen.
const MAX_BIOS: usize = 256;
/// Pages of one bio at most (`BIO_MAX_VECS`).
const MAX_PAGES: u64 = 256;
/// Pages of all requests of one look at most.
const MAX_ALL_PAGES: usize = 1 << 16;

/// Functions that wait for direct I/O of their own: what ends it is an object that only they know.
const DIRECT: [&str; 6] = [
    "iomap_dio_*",
    "__iomap_dio_rw",
    "__blkdev_direct_IO*",
    "blkdev_direct_IO*",
    "do_blockdev_direct_IO",
    "__blockdev_direct_IO",
];

/// All requests that drivers have, with what they carry.
#[derive(Default)]
pub(super) struct Requests {
    all: Vec<Carried>,
}

/// A request and what shows whose it is.
struct Carried {
    disk: String,
    in_flight: u64,
    request: BlockRequest,
    /// Addresses of its `request_queue`, and of the maps of tags that it was given its own from.
    queue: u64,
    tags: Vec<u64>,
    /// What its end wakes, and what the ends of its bios do.
    wakes: Vec<u64>,
    /// Heads of the pages that it reads or writes.
    pages: Vec<u64>,
}

impl Requests {
    /// Reads them. What cannot be read is left out: then a wait is told without its request.
    pub(super) fn read(kernel: &Kernel<'_>) -> Self {
        let mut all = Vec::new();
        let mut left = MAX_ALL_PAGES;
        for disk in block::read(kernel).unwrap_or_default() {
            let in_flight = disk.in_flight.len() as u64;
            for request in disk.in_flight {
                all.extend(carried(kernel, &disk.name, in_flight, request, &mut left));
            }
        }
        Self { all }
    }

    fn target(carried: &Carried, request: Option<BlockRequest>) -> WaitTarget {
        WaitTarget::Disk { name: carried.disk.clone(), request, in_flight: carried.in_flight }
    }
}

fn carried(
    kernel: &Kernel<'_>,
    disk: &str,
    in_flight: u64,
    request: BlockRequest,
    left: &mut usize,
) -> Option<Carried> {
    let object = Object::new(kernel, "request", request.address);
    let mut tags = Vec::new();
    if let Ok(Some(hardware)) = object.follow("mq_hctx", "blk_mq_hw_ctx") {
        for member in ["tags", "sched_tags"] {
            let Ok(Some(of)) = hardware.follow(member, "blk_mq_tags") else { continue };
            // Inside, or a pointer for some versions around v5.10: both addresses are those of no other map.
            tags.extend(of.address("bitmap_tags").ok());
            tags.extend(of.number("bitmap_tags").ok().filter(|it| *it != 0));
        }
    }
    let mut found = Carried {
        disk: disk.to_owned(),
        in_flight,
        queue: object.number("q").ok()?,
        tags,
        wakes: object.number("end_io_data").ok().filter(|it| *it != 0).into_iter().collect(),
        pages: Vec::new(),
        request,
    };
    let mut at = object.number("bio").unwrap_or(0);
    for _ in 0..MAX_BIOS {
        if at == 0 || *left == 0 {
            break;
        }
        let bio = Object::new(kernel, "bio", at);
        found.wakes.extend([at, bio.number("bi_private").unwrap_or(0)].into_iter().filter(|it| *it != 0));
        let pages = pages(bio, left);
        found.pages.extend(pages);
        at = bio.number("bi_next").unwrap_or(0);
    }
    Some(found)
}

/// Heads of the pages of a bio. One that was cloned has no count of its own segments, but those that are
/// left to do.
fn pages(bio: Object<'_, '_>, left: &mut usize) -> Vec<u64> {
    let read = || {
        let kernel = bio.kernel;
        let (vector, count) = (bio.number("bi_io_vec").ok()?, bio.number("bi_vcnt").ok()?);
        let size = kernel.types.size("bio_vec")?;
        let (first, count) = match count {
            0 => (bio.number("bi_iter.bi_idx").ok()?, bio.number("bi_iter.bi_size").ok()?.div_ceil(512)),
            count => (0, count),
        };
        let mut todo = bio.number("bi_iter.bi_size").unwrap_or(0);
        let mut found = Vec::new();
        for index in first..first.checked_add(count.min(MAX_PAGES))? {
            let part = Object::new(kernel, "bio_vec", vector.wrapping_add(index.wrapping_mul(size)));
            let (Ok(page), Ok(len)) = (part.number("bv_page"), part.number("bv_len")) else { break };
            if page == 0 {
                break;
            }
            found.push(head(kernel, page));
            todo = todo.saturating_sub(len.max(1));
            if first != 0 && todo == 0 {
                break;
            }
        }
        Some(found)
    };
    let mut found = read().unwrap_or_default();
    found.dedup();
    found.truncate(*left);
    *left -= found.len();
    found
}

/// The first page of the folio that a page is in: a tail page says so in bit 0 of a word that points to it
/// (`compound_head`), or since v7.1 is a mask for the page's own address where all `struct page`s of a folio
/// are the head's, mapped again (`compound_info`).
fn head(kernel: &Kernel<'_>, page: u64) -> u64 {
    let offset = kernel.offset("page", "compound_head").or_else(|| kernel.offset("page", "compound_info"));
    let word = offset.and_then(|it| kernel.space.u64(page.wrapping_add(it)).ok());
    match word {
        Some(word) if word & 1 != 0 => {
            let word = word & !1;
            if word.wrapping_neg().is_power_of_two() { page & word } else { word }
        }
        _ => page,
    }
}

/// Tells of a wait for storage which disk owes it: adds to an edge that passed its test, or makes one.
pub(super) fn with_disk(
    look: &Look<'_, '_>,
    sleeper: &Sleeper<'_>,
    kind: WaitKind,
    edge: Option<WaitEdge>,
) -> Option<WaitEdge> {
    let found = of_object(look, sleeper, edge.as_ref()).or_else(|| of_stack(look, sleeper));
    let Some((object, what, proof)) = found else {
        return edge.map(|mut edge| {
            edge.what = edge.what.take().or_else(|| page_of(look, &edge));
            edge
        });
    };
    match edge {
        Some(mut edge) => {
            edge.what = Some(what);
            edge.proof = proof;
            Some(edge)
        }
        None => {
            let mut edge = look.edge(sleeper, kind, object, Vec::new(), proof)?;
            edge.what = Some(what);
            Some(edge)
        }
    }
}

type Found = (u64, WaitTarget, WaitProof);

/// The request that ends the wait for an object that was found.
fn of_object(look: &Look<'_, '_>, sleeper: &Sleeper<'_>, edge: Option<&WaitEdge>) -> Option<Found> {
    let (kernel, object) = (look.kernel, edge?.object?);
    // The word of a buffer's bits is its first, so that the object is the buffer itself.
    let buffer = Object::new(kernel, "buffer_head", object);
    let of_buffer = edge?.kind == WaitKind::BlockIo && kernel.offset("buffer_head", "b_state") == Some(0);
    let page = of_buffer.then(|| buffer.either(&["b_page", "b_folio"]).ok()).flatten();
    let is_it = |it: &&Carried| {
        it.wakes.contains(&object)
            || it.pages.contains(&object)
            || page.is_some_and(|page| it.pages.contains(&head(kernel, page)) && it.wakes.contains(&object))
    };
    if let Some(it) = look.requests().all.iter().find(is_it) {
        return Some((object, Requests::target(it, Some(it.request.clone())), WaitProof::Request));
    }
    // A flush is one request for all that wait for it: the bio on the way there names the disk.
    let ends = kernel.symbol("submit_bio_wait_endio")?;
    let bio = sleeper.pointers().map(|at| Object::new(kernel, "bio", at)).find(|it| {
        it.number("bi_private").ok() == Some(object) && it.number("bi_end_io").ok() == Some(ends)
    })?;
    let name = disk_of(bio)?;
    let in_flight = look.requests().all.iter().find(|it| it.disk == name).map_or(0, |it| it.in_flight);
    Some((object, WaitTarget::Disk { name, request: None, in_flight }, WaitProof::Bio))
}

/// The request or the queue that a stack leads to where there is no other object.
fn of_stack(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<Found> {
    let all = &look.requests().all;
    let whole = |it: &Carried| (it.request.address, Requests::target(it, Some(it.request.clone())));
    // Who waits for direct I/O of one bio is noted in it, else what counts the bios is.
    let direct = sleeper.is_in(&DIRECT);
    let mine = |it: &&Carried| {
        it.wakes.contains(&sleeper.task.address)
            || it.wakes.iter().any(|word| sleeper.holds(*word))
            || (direct && it.wakes.iter().any(|word| sleeper.places_of(*word).next().is_some()))
    };
    if let Some(it) = all.iter().find(mine) {
        let (object, what) = whole(it);
        return Some((object, what, WaitProof::Request));
    }
    if sleeper.is_in(&["blk_mq_get_tag"]) {
        let of_tags = |it: &&Carried| it.tags.iter().any(|tags| sleeper.places_of(*tags).next().is_some());
        let it = all.iter().find(of_tags)?;
        return Some((it.queue, Requests::target(it, None), WaitProof::Queued));
    }
    if sleeper.is_in(&["blk_mq_freeze_queue_wait*", "blk_queue_enter", "__bio_queue_enter"]) {
        let head = look.kernel.offset("request_queue", "mq_freeze_wq.head")?;
        let entry = look.kernel.offset("wait_queue_entry", "entry")?;
        let wake = "autoremove_wake_function";
        let mut entries = sleeper.entries(look, "wait_queue_entry", ["func", "private"], wake);
        return entries.find_map(|it| {
            let nodes = ring(&look.kernel.space, it.wrapping_add(entry)).ok().flatten()?;
            let it = all.iter().find(|it| nodes.contains(&it.queue.wrapping_add(head)))?;
            Some((it.queue, Requests::target(it, None), WaitProof::Queued))
        });
    }
    throttled(look, sleeper)
}

/// Who is held back before the queue (`rq_qos_wait()`, `block/blk-rq-qos.c`, since v5.0): by the throttle of
/// writeback, whose data leads to the disk.
fn throttled(look: &Look<'_, '_>, sleeper: &Sleeper<'_>) -> Option<Found> {
    let kernel = look.kernel;
    let wait = ["wq.func", "task"];
    let mut entries = sleeper.entries(look, "rq_qos_wait_data", wait, "rq_qos_wake_function");
    let entry = Object::new(kernel, "rq_qos_wait_data", entries.next()?);
    let data = entry.follow("private_data", "wbt_wait_data").ok().flatten()?;
    let throttle = data.follow("rwb", "rq_wb").ok().flatten()?;
    // The disk since v6.3 (commit ba91c849fa50), the queue before.
    let of_disk = throttle.follow("rqos.disk", "gendisk").ok().flatten();
    let name = match of_disk {
        Some(disk) => disk.text("disk_name").ok()?,
        None => {
            let queue = throttle.number("rqos.q").ok()?;
            look.requests().all.iter().find(|it| it.queue == queue)?.disk.clone()
        }
    };
    let in_flight = look.requests().all.iter().find(|it| it.disk == name).map_or(0, |it| it.in_flight);
    let object = entry.number("rqw").ok()?;
    Some((object, WaitTarget::Disk { name, request: None, in_flight }, WaitProof::Queued))
}

/// The disk that a bio goes to: by its block device since commit 309dca309fc3 (v5.12).
fn disk_of(bio: Object<'_, '_>) -> Option<String> {
    let disk = match bio.follow("bi_bdev", "block_device") {
        Ok(device) => device?.follow("bd_disk", "gendisk").ok()??,
        Err(_) => bio.follow("bi_disk", "gendisk").ok()??,
    };
    disk.text("disk_name").ok().filter(|it| !it.is_empty())
}

/// What a page belongs to: its file system and file.
fn page_of(look: &Look<'_, '_>, edge: &WaitEdge) -> Option<WaitTarget> {
    if edge.kind != WaitKind::PageIo {
        return None;
    }
    let kernel = look.kernel;
    // The low bits say that it is none of a file (`PAGE_MAPPING_FLAGS`).
    let mapping = Object::new(kernel, "page", edge.object?).number("mapping").ok();
    let mapping = mapping.filter(|it| *it != 0 && it & 3 == 0)?;
    let inode = Object::new(kernel, "address_space", mapping).follow("host", "inode").ok()??;
    let file_system = inode.follow("i_sb", "super_block").ok()??.text("s_id").ok()?;
    Some(WaitTarget::Page { file_system, inode: inode.number("i_ino").ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::test_kernel::space;
    use super::*;
    use crate::memory::test_memory::TestMemory;
    use crate::{Arch, Recorder, Symbols, btf::Types};

    #[test]
    fn without_types_there_are_no_requests_and_a_page_is_its_own_head() {
        let memory = TestMemory::new(0x20000);
        let at = space::map(&memory);
        let recorder = Recorder::new(&memory);
        let none: [(u64, u8, &str); 0] = [];
        let kernel = Kernel::new(space::of(&recorder), Symbols::new(none), Types::none(), Arch::X86_64);
        assert!(Requests::read(&kernel).all.is_empty());
        assert_eq!(head(&kernel, at), at);
    }
}
