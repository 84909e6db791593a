//! The application: three workers that write and fsync, and a label in the kernel log for each round in
//! which all of them finished a write. A label stops when the disk, the CPU or user space stops.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::kmsg;

/// Exists when the first label was written.
pub(crate) const READY: &str = "/run/app.ready";
/// The counters as JSON, replaced with each label.
pub(crate) const COUNTERS: &str = "/run/app.json";

const N_WORKERS: usize = 3;
const BLOCK: usize = 4096;
const N_BLOCKS: u64 = 64;
/// Bytes of memory that each round takes and gives back.
const MEMORY: usize = 1 << 20;
/// Time between two labels, and what a worker rests between two writes.
const LABEL_EVERY: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(300);

static FAILED: OnceLock<String> = OnceLock::new();

/// Runs until a worker fails.
pub(crate) fn run(_: &[String]) -> Result<()> {
    let writes: Arc<[AtomicU64; N_WORKERS]> = Arc::default();
    for worker in 0..N_WORKERS {
        let file = preallocated(worker)?;
        let writes = Arc::clone(&writes);
        thread::Builder::new().name(format!("app-writer-{}", worker + 1)).spawn(move || {
            if let Err(error) = work(&file, &needs(worker), &writes[worker]) {
                drop(FAILED.set(format!("writer {}: {error:#}", worker + 1)));
            }
        })?;
    }

    let mut before = [0; N_WORKERS];
    let mut label = 0_u64;
    loop {
        sleep(LABEL_EVERY);
        let mut now = counts(&writes);
        while now.iter().zip(before).any(|(now, before)| *now == before) {
            if let Some(error) = FAILED.get() {
                bail!("{error}");
            }
            sleep(Duration::from_millis(20));
            now = counts(&writes);
        }
        before = now;
        label += 1;
        let total: u64 = now.iter().sum();
        kmsg::write(kmsg::INFO, &format!("app: label {label} writes={total}"));
        let text = format!("{{\"label\":{label},\"writes\":{now:?}}}");
        fs::write("/run/app.json.new", text)?;
        fs::rename("/run/app.json.new", COUNTERS)?;
        if label == 1 {
            fs::write(READY, "")?;
        }
    }
}

/// Makes the application depend on `path`: from its next round on, writer `worker` (counted from 1)
/// opens and reads it before each write. Faults put themselves into the application's way like this.
pub(crate) fn need(worker: usize, path: &str) -> Result<()> {
    let list = needs(worker - 1);
    let new = format!("{list}.new");
    fs::write(&new, path)
        .and_then(|()| fs::rename(&new, &list))
        .with_context(|| format!("cannot write {list}"))
}

fn needs(worker: usize) -> String {
    format!("/run/app.needs-{}", worker + 1)
}

fn counts(writes: &[AtomicU64; N_WORKERS]) -> [u64; N_WORKERS] {
    std::array::from_fn(|it| writes[it].load(Ordering::Relaxed))
}

/// The worker's file with all its blocks on the disk, so that later writes allocate nothing.
fn preallocated(worker: usize) -> Result<File> {
    let path = format!("/data/worker-{}", worker + 1);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .with_context(|| format!("cannot create {path}"))?;
    for block in 0..N_BLOCKS {
        file.write_all_at(&[0; BLOCK], block * BLOCK as u64)?;
    }
    file.sync_all().with_context(|| format!("cannot sync {path}"))?;
    Ok(file)
}

/// A worker's round: new memory, a write, a sync. The memory is asked for anew each time, as programs
/// do, so that a guest without any slows the application down.
fn work(file: &File, needs: &str, writes: &AtomicU64) -> Result<()> {
    for round in 1_u64.. {
        if let Ok(path) = fs::read_to_string(needs) {
            // What it reads there, and whether it can, is all the same: it has to come back.
            File::open(path).and_then(|mut it| it.read(&mut [0])).ok();
        }
        let mut memory = vec![0_u8; MEMORY];
        for page in memory.chunks_mut(BLOCK) {
            page[..8].copy_from_slice(&round.to_le_bytes());
        }
        std::hint::black_box(&mut memory);
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&round.to_le_bytes());
        file.write_all_at(&block, round % N_BLOCKS * BLOCK as u64)?;
        file.sync_all()?;
        writes.store(round, Ordering::Relaxed);
        sleep(REST);
    }
    Ok(())
}
