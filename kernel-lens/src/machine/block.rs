//! Disks, and the requests that they owe.
//!
//! Disks are found by the inodes of block devices (`blockdev_superblock`): a device has one as long as it
//! is there since v5.11 (commit 22ae8ce8b892), and as long as it is open before. The driver's requests are
//! those whose tag is taken (`struct sbitmap`); a request says itself whether it is under way.

use std::collections::HashSet;

use vmward_kernel_facts::machine::{BlockRequest, Disk};

use super::bio;
use super::clock;
use super::device;
use super::object::{Object, symbol};
use super::tree::xarray;
use crate::{Kernel, ReadError};

/// Disks at most.
const MAX_DISKS: usize = 4096;
/// Hardware queues of a disk at most.
const MAX_QUEUES: u64 = 4096;
/// Words of a map of tags at most.
const MAX_WORDS: u64 = 1024;
/// Requests of a disk that are told.
const MAX_REQUESTS: usize = 4096;

/// `BLK_MQ_S_STOPPED`.
const STOPPED: u64 = 1;
/// `enum mq_rq_state`.
const IN_FLIGHT: u64 = 1;
const COMPLETE: u64 = 2;

/// Reads every whole disk.
///
/// # Errors
/// What the read of the list said; a disk that cannot be read is left out.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<Disk>, ReadError> {
    let block = kernel.space.u64(symbol(kernel, "blockdev_superblock")?)?;
    let mut seen = HashSet::new();
    let mut disks = Vec::new();
    for link in Object::new(kernel, "super_block", block).list("s_inodes")? {
        let inode = Object::around(kernel, "inode", "i_sb_list", link)?;
        let device = Object::around(kernel, "bdev_inode", "vfs_inode", inode.at)?;
        let device = device.inside("bdev", "block_device")?;
        let Ok(Some(disk)) = device.follow("bd_disk", "gendisk") else { continue };
        if seen.len() < MAX_DISKS && seen.insert(disk.at) {
            disks.extend(read_disk(disk).ok());
        }
    }
    disks.sort_by_key(|it: &Disk| it.device);
    Ok(disks)
}

fn read_disk(gendisk: Object<'_, '_>) -> Result<Disk, ReadError> {
    let kernel = gendisk.kernel;
    let missing = || ReadError::Inconsistent { what: "gendisk", virt: gendisk.at };
    let queue = gendisk.follow("queue", "request_queue")?.ok_or_else(missing)?;
    // The whole disk is a partition: a `hd_struct` inside until v5.10, a block device since.
    let (sectors, of_whole) = match kernel.offset("hd_struct", "nr_sects") {
        Some(_) => {
            let whole = gendisk.inside("part0", "hd_struct")?;
            (whole.number("nr_sects")?, whole.inside("__dev", "device")?)
        }
        None => {
            let whole = gendisk.follow("part0", "block_device")?.ok_or_else(missing)?;
            (whole.number("bd_nr_sectors")?, whole.inside("bd_device", "device")?)
        }
    };
    let elevator = queue.follow("elevator", "elevator_queue")?;
    let kind = elevator.map(|it| it.follow("type", "elevator_type")).transpose()?.flatten();
    let quiesced = kernel.types.enumerator("QUEUE_FLAG_QUIESCED").and_then(|it| u32::try_from(it).ok());
    let flags = queue.number("queue_flags")?;
    let mut disk = Disk {
        name: gendisk.text("disk_name")?,
        device: (gendisk.small("major")?, gendisk.small("first_minor")?),
        sectors,
        path: device::parent_path(of_whole).unwrap_or_default(),
        hardware_queues: queue.small("nr_hw_queues")?,
        scheduler: kind.map(|it| it.text_behind("elevator_name")).transpose()?.flatten(),
        frozen: queue.number("mq_freeze_depth")? != 0,
        // A depth since v5.16 (commit e70feb8b3e68), a flag before.
        quiesced: match queue.number("quiesce_depth") {
            Ok(depth) => depth != 0,
            Err(_) => quiesced.is_some_and(|bit| flags.checked_shr(bit).unwrap_or(0) & 1 != 0),
        },
        ..Default::default()
    };
    // A disk without hardware queues is one of bios, as device mapper's.
    if queue.number("mq_ops")? != 0 {
        let now = clock::read(kernel).ok().map(|it| it.monotonic_nsec);
        for hardware in hardware_queues(queue)? {
            read_queue(queue, hardware, now, &mut disk)?;
        }
        disk.in_flight.sort_by_key(|it| std::cmp::Reverse(it.age_ms));
        disk.in_flight.iter_mut().take(bio::MAX_REQUESTS).for_each(|it| bio::carry(kernel, it));
    }
    Ok(disk)
}

/// Hardware queues: an array until v5.16 and again in v7.2, an xarray in between (commit 4e5cc99e1e48).
fn hardware_queues<'k, 'm>(queue: Object<'k, 'm>) -> Result<Vec<Object<'k, 'm>>, ReadError> {
    let kernel = queue.kernel;
    let places = if queue.has("hctx_table") {
        xarray(kernel, queue.address("hctx_table")?)?
    } else {
        let (array, count) = (queue.number("queue_hw_ctx")?, queue.number("nr_hw_queues")?);
        let one = |index| kernel.space.u64(array.wrapping_add(index * 8));
        (0..count.min(MAX_QUEUES)).map(one).collect::<Result<_, _>>()?
    };
    let some = places.into_iter().filter(|it| *it != 0).take(MAX_QUEUES as usize);
    Ok(some.map(|at| Object::new(kernel, "blk_mq_hw_ctx", at)).collect())
}

fn read_queue(
    queue: Object<'_, '_>,
    hardware: Object<'_, '_>,
    now: Option<u64>,
    disk: &mut Disk,
) -> Result<(), ReadError> {
    let number = hardware.small("queue_num")?;
    if hardware.number("state")? & STOPPED != 0 {
        disk.stopped_queues.push(number);
    }
    if let Some(tags) = hardware.follow("sched_tags", "blk_mq_tags")? {
        disk.scheduled += taken(tags)?.len() as u64;
    }
    let Some(tags) = hardware.follow("tags", "blk_mq_tags")? else { return Ok(()) };
    let (requests, reserved) = (tags.number("rqs")?, tags.number("nr_reserved_tags")?);
    for tag in taken(tags)? {
        // Reserved tags come first and have a map of their own.
        let tag = tag.wrapping_add(reserved);
        let at = queue.kernel.space.u64(requests.wrapping_add(tag.wrapping_mul(8)))?;
        let request = Object::new(queue.kernel, "request", at);
        // Tags may be shared with other disks, and a tag may be taken before its request is filled in.
        if at == 0 || request.number("q")? != queue.at || disk.in_flight.len() >= MAX_REQUESTS {
            continue;
        }
        let state = request.number("state")?;
        if !matches!(state, IN_FLIGHT | COMPLETE) || request.number("mq_hctx")? != hardware.at {
            continue;
        }
        let began = request.number("start_time_ns")?;
        disk.in_flight.push(BlockRequest {
            operation: operation(request.number("cmd_flags")?),
            sector: request.number("__sector")?,
            bytes: request.small("__data_len")?,
            queue: number,
            tag: tag as u32,
            age_ms: now.filter(|_| began != 0).map(|it| it.saturating_sub(began) / 1_000_000),
            completed: state == COMPLETE,
            address: at,
            ..BlockRequest::default()
        });
    }
    Ok(())
}

/// Bits that are set in a map of tags: words that are a cache line apart, with those that were given back
/// lately in a word beside (commit ea86ea2cdced, v5.0).
fn taken(tags: Object<'_, '_>) -> Result<Vec<u64>, ReadError> {
    let kernel = tags.kernel;
    // A pointer for some versions around v5.10.
    let pointer =
        kernel.types.member("blk_mq_tags", "bitmap_tags").is_some_and(|it| it.type_name.ends_with('*'));
    let missing = || ReadError::Inconsistent { what: "sbitmap", virt: tags.at };
    let map = if pointer {
        tags.follow("bitmap_tags", "sbitmap_queue")?.ok_or_else(missing)?
    } else {
        tags.inside("bitmap_tags", "sbitmap_queue")?
    };
    let size = kernel.types.size("sbitmap_word").ok_or_else(missing)?;
    let (shift, words) = (map.number("sb.shift")?, map.number("sb.map_nr")?.min(MAX_WORDS));
    let (depth, first) = (map.number("sb.depth")?, map.number("sb.map")?);
    if shift > 6 {
        return Err(missing());
    }
    let mut found = Vec::new();
    for index in 0..words {
        let word = Object::new(kernel, "sbitmap_word", first.wrapping_add(index.wrapping_mul(size)));
        let set = word.number("word")? & !word.number("cleared")?;
        let bits = (0..1u64 << shift).filter(|bit| set & (1 << bit) != 0);
        found.extend(bits.map(|bit| (index << shift) + bit).filter(|it| *it < depth));
    }
    Ok(found)
}

/// `enum req_op`, the low eight bits of the flags.
fn operation(flags: u64) -> String {
    match flags & 0xff {
        0 => "read".into(),
        1 => "write".into(),
        2 => "flush".into(),
        3 => "discard".into(),
        other => format!("operation {other}"),
    }
}
