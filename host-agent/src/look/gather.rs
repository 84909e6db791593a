//! Finds out where a live guest's memory is and opens it: QEMU's map, the process's files, the registers.
//!
//! Everything has a deadline, and nothing is waited for that could wait for the guest: the monitor is asked
//! on rung L1 only; without it the layout of an earlier time, or the command line, will do, and no registers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::Value;
use vmward_model::Rung;

use super::layout::{Layout, guessed};
use super::order::{MemoryFrom, Order, Part, PartAt, Request};
use crate::capture::{Monitor, Question};
use crate::node::{Process, fds::Fd};
use crate::opener::Want;
use crate::transport::memory::{Backing, BlockFile, Mapping, MemoryMap, block_files, host_address, mappings};

/// One question to the monitor.
const ASK: Duration = Duration::from_secs(2);
/// Opening a file of the process.
const OPEN: Duration = Duration::from_secs(3);
/// Bytes of `/proc/PID/maps`.
const MAX_MAPS: u64 = 1 << 20;
/// Files of memory looked at.
const MAX_FILES: usize = 240;

/// What is needed for a look.
#[derive(Debug)]
pub struct Gathered {
    /// The order.
    pub order: Order,
    /// The layout, for a time when the monitor does not answer.
    pub layout: Layout,
    /// What was missing on the way: one sentence each.
    pub notes: Vec<String>,
    /// How high the ladder was climbed.
    pub rung: Rung,
}

/// Gathers what a look at the guest needs. `known` is a layout of an earlier time.
///
/// # Errors
/// In a sentence, when its memory cannot be reached.
pub async fn gather(
    process: &Process,
    monitor: Option<&dyn Monitor>,
    known: Option<Layout>,
) -> Result<Gathered, String> {
    let mut notes = Vec::new();
    let asked = match monitor {
        Some(monitor) => layout_of(monitor).await.map_err(|why| notes.push(why)).ok(),
        None => None,
    };
    let answers = asked.is_some();
    let layout = match asked.or(known) {
        Some(layout) => layout,
        None => {
            let line = process.file("cmdline", 256 << 10, OPEN).await.map_err(|it| it.to_string())?;
            let words: Vec<String> =
                line.split(|it| *it == 0).map(|it| String::from_utf8_lossy(it).into_owned()).collect();
            let layout = guessed(&words).ok_or_else(|| {
                let why = notes.join("; ");
                format!(
                    "where the guest's memory stands is not known: {why}, and its command line does not say"
                )
            })?;
            notes.push("the layout of memory was taken from QEMU's command line".to_owned());
            layout
        }
    };
    let (this, wanted) = (process.clone(), layout.clone());
    let opened = process.run("the guest's memory", OPEN, move || opened(&this, &wanted)).await;
    let (memory, files) = opened.map_err(|it| it.to_string())?.map_err(|it| it.to_string())?;
    // The last thing, so that registers and memory are of nearly the same moment.
    let registers = match monitor.filter(|_| answers) {
        Some(monitor) => registers_of(monitor).await.map_err(|why| notes.push(why)).ok(),
        None => None,
    };
    if registers.is_none() {
        notes.push("no registers: what a running CPU does is told by what it left in memory".to_owned());
    }
    let request = Request { memory, registers, ..Request::default() };
    let rung = if answers { Rung::L1 } else { Rung::L0 };
    Ok(Gathered { order: Order { request, files }, layout, notes, rung })
}

async fn texts(monitor: &dyn Monitor, questions: Vec<Question>) -> Result<Vec<String>, String> {
    let answers = monitor.ask(questions, ASK).await.map_err(|it| format!("the monitor: {}", it.why))?;
    let text = |it| match it {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err("the monitor: an answer is no text".to_owned()),
        Err(failure) => Err(format!("the monitor: {failure}")),
    };
    answers.into_iter().map(text).collect()
}

/// QEMU's word on where memory stands.
pub(crate) async fn layout_of(monitor: &dyn Monitor) -> Result<Layout, String> {
    let tree = texts(monitor, vec![Question::MemoryTree]).await?.pop().unwrap_or_default();
    let map = MemoryMap::parse(&tree).map_err(|it| it.to_string())?;
    let blocks: Vec<(String, u64, u64)> = map
        .likely_blocks()
        .into_iter()
        .filter_map(|it| map.first_of(it).map(|row| (it.to_owned(), row.start, row.offset)))
        .collect();
    let questions = blocks.iter().map(|(_, start, _)| Question::HostAddress(*start)).collect();
    let answers = texts(monitor, questions).await?;
    let hosts: BTreeMap<String, u64> = blocks
        .into_iter()
        .zip(answers)
        .filter_map(|((name, _, offset), answer)| Some((name, host_address(&answer)?.checked_sub(offset)?)))
        .collect();
    Ok(Layout { map, hosts, guessed: false })
}

async fn registers_of(monitor: &dyn Monitor) -> Result<String, String> {
    Ok(texts(monitor, vec![Question::Registers]).await?.pop().unwrap_or_default())
}

/// Opens each block where it is: in a file, else in the process.
fn opened(process: &Process, layout: &Layout) -> io::Result<(MemoryFrom, Vec<OwnedFd>)> {
    let mut text = String::new();
    File::from(process.open_now(Want::Maps, OPEN)?).take(MAX_MAPS).read_to_string(&mut text)?;
    let mappings = mappings(&text);
    let candidates = candidates(process)?;
    let known: Vec<BlockFile> = candidates.iter().map(|(it, _)| it.clone()).collect();
    let mut candidates: Vec<(BlockFile, Option<OwnedFd>)> =
        candidates.into_iter().map(|(it, fd)| (it, Some(fd))).collect();

    let mut files: Vec<OwnedFd> = Vec::new();
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    let mut parts = Vec::new();
    let mut own = false;
    for block in layout.map.likely_blocks() {
        let host = layout.hosts.get(block).copied().or_else(|| only_mapping(&mappings, layout, block));
        let found = block_files(&layout.map, &[block], &known, &mappings, |_| host);
        let rows = layout.map.ram(std::slice::from_ref(&block)).map(|it| (it.start, it.len(), it.offset));
        let rows: Vec<(u64, u64, u64)> = rows.collect();
        match found.ok().and_then(|it| it.into_iter().next()) {
            Some((Backing { offset: base, .. }, fd)) => {
                let number = match numbers.get(&fd) {
                    Some(number) => *number,
                    None => {
                        let file = candidates.iter_mut().find(|(it, _)| it.fd == fd);
                        let file = file.and_then(|(_, it)| it.take()).ok_or(io::ErrorKind::NotFound)?;
                        files.push(file);
                        numbers.insert(fd, files.len() - 1);
                        files.len() - 1
                    }
                };
                parts.extend(rows.into_iter().filter_map(|(phys, len, offset)| {
                    let offset = base.checked_add(offset)?;
                    Some(Part { phys, len, at: PartAt::File { file: number, offset } })
                }));
            }
            None => {
                let host = host.ok_or_else(|| {
                    let why =
                        format!("where QEMU has RAM block {block} is not known: its monitor does not tell");
                    io::Error::other(why)
                })?;
                own = true;
                parts.extend(rows.into_iter().filter_map(|(phys, len, offset)| {
                    let host = host.checked_add(offset)?;
                    Some(Part { phys, len, at: PartAt::Process { host } })
                }));
            }
        }
    }
    let process = if own {
        files.push(process.open_now(Want::Mem, OPEN)?);
        files.push(process.open_now(Want::Pagemap, OPEN)?);
        Some((files.len() - 2, files.len() - 1))
    } else {
        None
    };
    Ok((MemoryFrom::Live { parts, process }, files))
}

/// Files of the process that may hold RAM: those in memory. Images of disks are never opened.
fn candidates(process: &Process) -> io::Result<Vec<(BlockFile, OwnedFd)>> {
    let mut found = Vec::new();
    let places = ["/memfd:", "/dev/shm/", "/dev/hugepages"];
    let likely = |it: &Fd| it.read_write() && places.iter().any(|place| it.link.starts_with(place));
    for fd in process.fds_here(OPEN)?.into_iter().filter(likely).take(MAX_FILES) {
        // One that went meanwhile, or that may not be opened, is no reason to leave the others.
        let Ok(file) = process.open_now(Want::Memfd { fd: fd.fd }, OPEN) else { continue };
        let file = File::from(file);
        let Ok(meta) = file.metadata() else { continue };
        if meta.is_file() {
            let about = BlockFile { fd: fd.fd, inode: meta.ino(), size: meta.len() };
            found.push((about, OwnedFd::from(file)));
        }
    }
    Ok(found)
}

/// The one mapping of a block's size, where there is one only.
fn only_mapping(mappings: &[Mapping], layout: &Layout, block: &str) -> Option<u64> {
    let size = layout.map.extent(block);
    let mut fit = mappings.iter().filter(|it| it.end.checked_sub(it.start) == Some(size));
    let first = fit.next()?;
    if fit.next().is_none() { Some(first.start) } else { None }
}
