//! What virtqueues and block counters say of the disks.

use vmward_kernel_facts::machine::BlockRequest;
use vmward_model::observed::{BlockSample, Virtqueue};

use super::{age, count, wait};
use crate::Case;

/// Shortest time over which a queue that stands still counts as stuck, in milliseconds.
const STUCK_MS: u64 = 500;

/// A queue of a disk that holds requests and completes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owing {
    pub path: String,
    pub device: String,
    pub queue: u32,
    /// Requests that the host took and did not complete, at the last look.
    pub inuse: u32,
    /// How long it was watched, in milliseconds.
    pub watched_ms: u64,
}

impl Owing {
    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{} {} queue {} holds {} and completed none in {:.1} s",
            self.device,
            self.path,
            self.queue,
            count(self.inuse as usize, "request"),
            self.watched_ms as f64 / 1000.0
        )
    }
}

/// A disk of which the guest's own block layer says that requests are not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overdue<'a> {
    /// Its name in the guest.
    pub name: &'a str,
    /// Requests that the driver has and nobody reported done.
    pub requests: usize,
    /// Age of the oldest, in milliseconds.
    pub oldest_ms: u64,
    /// What the oldest is, and how large.
    pub oldest: &'a BlockRequest,
}

impl Overdue<'_> {
    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "disk {} owes {}, the oldest for {}: a {} of {} bytes at sector {}",
            self.name,
            count(self.requests, "request"),
            age(self.oldest_ms),
            self.oldest.operation,
            self.oldest.bytes,
            self.oldest.sector
        )
    }
}

/// Disks with a request that is not answered for long, the oldest first; none where memory was not read.
pub(crate) fn overdue(case: &Case) -> Vec<Overdue<'_>> {
    let look = case.kernel.look.as_ref();
    let disks = look.and_then(|it| it.machine.disks.as_deref()).unwrap_or_default();
    let mut found: Vec<_> = disks
        .iter()
        .filter_map(|disk| {
            let open = || disk.in_flight.iter().filter(|it| !it.completed);
            let oldest = open().max_by_key(|it| it.age_ms)?;
            let oldest_ms = oldest.age_ms.filter(|it| *it >= wait::long_ms(case))?;
            Some(Overdue { name: &disk.name, requests: open().count(), oldest_ms, oldest })
        })
        .collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.oldest_ms));
    found
}

fn is_disk(queue: &Virtqueue) -> bool {
    queue.device.contains("blk") || queue.device.contains("scsi")
}

/// Disk queues that stand still with requests in them. `None` where queues were not sampled twice
/// over long enough.
pub(crate) fn owing(case: &Case) -> Option<Vec<Owing>> {
    let samples = case.observed.queues.as_ref()?;
    let (first, last) = (samples.first()?, samples.last()?);
    let watched_ms = last.at_ms.saturating_sub(first.at_ms);
    if watched_ms < STUCK_MS {
        return None;
    }
    // Where QEMU does not tell the used index, the block counters must stand still as well.
    let blocks_still = ops_per_second(case) == Some(0.0);
    let stuck = |queue: &&Virtqueue| {
        let mut history = samples.iter().filter_map(|it| {
            it.queues.iter().find(|other| other.path == queue.path && other.queue == queue.queue)
        });
        history.all(|it| it.inuse > 0 && it.used_idx == queue.used_idx)
            && (queue.used_idx.is_some() || blocks_still)
    };
    let owing = |it: &Virtqueue| Owing {
        path: it.path.clone(),
        device: it.device.clone(),
        queue: it.queue,
        inuse: it.inuse,
        watched_ms,
    };
    Some(last.queues.iter().filter(|it| is_disk(it)).filter(stuck).map(owing).collect())
}

/// Whether a disk queue held requests at every look and completed some in between: a disk that is slow
/// and works all along. `None` where queues were not sampled twice over long enough.
pub(crate) fn works_all_along(case: &Case) -> Option<bool> {
    let samples = case.observed.queues.as_ref()?;
    let (first, last) = (samples.first()?, samples.last()?);
    if last.at_ms.saturating_sub(first.at_ms) < STUCK_MS {
        return None;
    }
    let works = |queue: &Virtqueue| {
        let before = samples.iter().flat_map(|it| &it.queues);
        let mut history = before.filter(|it| it.path == queue.path && it.queue == queue.queue).peekable();
        let moved = history.peek().is_some_and(|it| it.used_idx != queue.used_idx);
        moved && history.all(|it| it.inuse > 0)
    };
    Some(last.queues.iter().filter(|it| is_disk(it)).any(works))
}

/// Whether disks are seen to complete requests: many, or few of a slow disk that never rests.
pub(crate) fn moves(case: &Case) -> bool {
    works_all_along(case) == Some(true) || ops_per_second(case).is_some_and(|it| it >= 20.0)
}

/// Whether no disk queue holds a request at the last look; `None` where queues were not read.
pub(crate) fn nothing_in_flight(case: &Case) -> Option<bool> {
    let last = case.observed.queues.as_ref()?.last()?;
    Some(last.queues.iter().filter(|it| is_disk(it)).all(|it| it.inuse == 0))
}

/// Completed operations of all disks in each second of the diagnosis.
pub(crate) fn ops_per_second(case: &Case) -> Option<f64> {
    let samples = case.observed.blocks.as_ref()?;
    let (first, last) = (samples.first()?, samples.last()?);
    let window_ms = last.at_ms.checked_sub(first.at_ms).filter(|it| *it > 0)?;
    let sum = |it: &BlockSample| it.devices.iter().fold(0u64, |sum, it| sum.saturating_add(it.ops()));
    Some(sum(last).saturating_sub(sum(first)) as f64 * 1000.0 / window_ms as f64)
}
