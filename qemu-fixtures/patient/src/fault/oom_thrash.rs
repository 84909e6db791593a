//! `oom-thrash [DISK]`: swap on a disk that the host throttles, and a process that touches more memory
//! than there is. Pages of everybody else are thrown out and crawl back; nothing is killed, because the
//! swap space does not run out.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Fault, Start, end_all};
use crate::role::{Role, spawn};
use crate::{app, proc, sys};

/// Enough competitors for memory that the application gets but a small share.
const N_THREADS: usize = 16;
/// Filling the memory of a guest and a throttled disk's queue takes its time.
const PATIENCE: Duration = Duration::from_secs(110);
/// Pages written to swap, and read back, before the fault counts as there. Small, because soon
/// afterwards this process too waits for memory when it asks.
const ENOUGH_OUT: u64 = 256;
const ENOUGH_BACK: u64 = 16;
/// The application's last label is older than this: it does not get on.
const STANDSTILL: Duration = Duration::from_secs(4);

/// See the file's header.
pub(super) const FAULT: Fault =
    Fault { name: "oom-thrash", start, heal: Some(heal), roles: &[Role { name: "memory-hog", run: hog }] };

fn start(arguments: &[&str]) -> Result<Start> {
    let disk = format!("/dev/{}", arguments.first().unwrap_or(&"vdc"));
    make_swap(&disk)?;
    sys::swap_on(&CString::new(disk.clone())?).with_context(|| format!("cannot swap on {disk}"))?;
    std::fs::write("/proc/sys/vm/overcommit_memory", "1")?;
    // One page at a time: reading ahead would make the throttled disk look better than it is.
    std::fs::write("/proc/sys/vm/page-cluster", "0")?;

    let mut vmstat = Vmstat::open()?;
    vmstat.read([""; 3])?;
    let kib = |name: &str| proc::number("/proc/meminfo", name);
    let (available, swap) = (kib("MemAvailable"), kib("SwapFree"));
    // Well past what is free, well below where an out-of-memory kill would come.
    let hog = available + swap / 2;
    spawn("memory-hog", &[&(hog / 1024).to_string(), &(available / 1024).to_string()])?;

    let asked = Instant::now();
    loop {
        let [out, back, killed] = vmstat.read(["pswpout ", "pswpin ", "oom_kill "])?;
        if killed > 0 {
            bail!("the out-of-memory killer came: {killed} killed; the swap disk is too small");
        }
        let still = label_age()?;
        // On a slow host the queue of the throttled disk fills before anything is read back.
        let moves = back > ENOUGH_BACK && still > STANDSTILL;
        if out > ENOUGH_OUT && (moves || still > STANDSTILL * 4) {
            let proof = json!({
                "hog_mib": hog / 1024, "pswpout": out, "pswpin": back, "label_age_s": still.as_secs(),
            });
            return Ok(Start::Shown(proof));
        }
        if asked.elapsed() > PATIENCE {
            bail!("not thrashing: {out} pages out, {back} back in, last label {} s ago", still.as_secs());
        }
        sleep(Duration::from_millis(50));
    }
}

/// How long ago the application wrote its last label. Asking costs no memory: the name is in the
/// kernel's cache for as long as the file is there.
fn label_age() -> Result<Duration> {
    let written = std::fs::metadata(app::COUNTERS).context("the application has no counters")?.modified()?;
    Ok(written.elapsed().unwrap_or_default())
}

/// `/proc/vmstat`, opened while there is memory and read into a buffer of our own: opening a file costs
/// the kernel memory, and then this process would wait like all others.
struct Vmstat {
    file: File,
    buffer: Vec<u8>,
}

impl Vmstat {
    fn open() -> Result<Self> {
        Ok(Self { file: File::open("/proc/vmstat")?, buffer: vec![0; 32 << 10] })
    }

    /// The values of three counters; each name ends with a space.
    fn read(&mut self, names: [&str; 3]) -> Result<[u64; 3]> {
        let mut n = 0;
        while let Some(rest) = self.buffer.get_mut(n..).filter(|it| !it.is_empty()) {
            match self.file.read_at(rest, n as u64)? {
                0 => break,
                more => n += more,
            }
        }
        let text = std::str::from_utf8(self.buffer.get(..n).unwrap_or_default())?;
        let value = |name| text.lines().find_map(|it| it.strip_prefix(name)?.parse().ok()).unwrap_or(0);
        Ok(names.map(value))
    }
}

/// Writes what mkswap would.
fn make_swap(disk: &str) -> Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .with_context(|| format!("cannot open {disk}"))?;
    let name = disk.trim_start_matches("/dev/");
    let sectors: u64 = std::fs::read_to_string(format!("/sys/block/{name}/size"))?.trim().parse()?;
    let page = swap_header(sectors * 512, sys::page_size());
    file.write_all_at(&page, 0).context("cannot write the swap header")?;
    file.sync_all().context("cannot write the swap header")
}

/// The first page of swap space: `union swap_header`, include/linux/swap.h, version 1 in host byte order.
fn swap_header(bytes: u64, page_size: usize) -> Vec<u8> {
    let n_pages = bytes / page_size as u64;
    let last_page = u32::try_from(n_pages.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut page = vec![0; page_size];
    page[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    page[1028..1032].copy_from_slice(&last_page.to_ne_bytes());
    page[page_size - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

/// Fills the memory there is in one go, then touches pages in no order, so that what was thrown out is
/// soon wanted back.
fn hog(arguments: &[String]) -> Result<()> {
    let [all, at_first] = arguments else { bail!("two sizes expected") };
    let (all, at_first): (usize, usize) = (all.parse()?, at_first.parse()?);
    let page_size = sys::page_size();
    let part = (all << 20) / N_THREADS;
    let mut parts = vec![Vec::new(); N_THREADS];
    let mut left = at_first << 20;
    for memory in &mut parts {
        *memory = vec![0_u8; part];
        for page in memory.chunks_mut(page_size).take(left / page_size) {
            page[0] = 1;
        }
        left = left.saturating_sub(part);
    }
    thread::scope(|scope| {
        for (seed, memory) in (1_u64..).zip(&mut parts) {
            scope.spawn(move || touch(memory, page_size, seed));
        }
    });
    Ok(())
}

fn touch(memory: &mut [u8], page_size: usize, seed: u64) {
    let n_pages = ((memory.len() / page_size) as u64).max(1);
    // Marsaglia's xorshift64: no state but one word.
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    loop {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = (random % n_pages) as usize * page_size;
        memory[at] = memory[at].wrapping_add(1);
        std::hint::black_box(&mut *memory);
    }
}

fn heal() -> Result<Value> {
    end_all("memory-hog")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_swap_header_is_the_one_that_mkswap_writes() {
        // The first page after `mkswap` (util-linux 2.38) on 1 MiB, without the random UUID.
        let page = swap_header(1 << 20, 4096);
        assert_eq!(page[1024..1036], [1, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&page[4086..], b"SWAPSPACE2");
        assert_eq!(page.len(), 4096);
    }
}
