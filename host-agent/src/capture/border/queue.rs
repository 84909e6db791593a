//! One queue from both sides, with the arithmetic of its indices.

use std::collections::HashMap;

use vmward_kernel_facts::machine::{VirtioDevice, VirtioQueue};
use vmward_kernel_facts::{BorderDevice, BorderRequest, QemuQueue};
use vmward_model::observed::Observed;

/// How long two looks must lie apart for what is the same in both to stand still, in milliseconds.
const APART_MS: u64 = 800;

/// All that is known of one queue.
pub(super) struct Seen<'a> {
    pub(super) device: &'a VirtioDevice,
    pub(super) queue: &'a VirtioQueue,
    /// What QEMU said, oldest first.
    pub(super) qemu: Vec<QemuQueue>,
    /// Oldest first.
    pub(super) requests: &'a [BorderRequest],
    /// Ages of requests by address, in milliseconds.
    pub(super) ages: &'a HashMap<u64, u64>,
    pub(super) observed: &'a Observed,
    /// When memory was read, not before and not after, by the clock of QEMU's samples.
    pub(super) looked_ms: Option<(i64, i64)>,
    /// The device so far: threads and backend.
    pub(super) joined: &'a BorderDevice,
}

impl Seen<'_> {
    pub(super) fn first(&self) -> Option<&QemuQueue> {
        self.qemu.first()
    }

    pub(super) fn last(&self) -> Option<&QemuQueue> {
        self.qemu.last()
    }

    /// From one index to another. Those of a split ring run through all 16 bits, those of a packed one
    /// through its descriptors.
    pub(super) fn ahead(&self, from: u32, to: u32) -> u32 {
        match (self.queue.packed, self.queue.size) {
            (true, size) if size > 0 => (to % size + size - from % size) % size,
            _ => u32::from((to as u16).wrapping_sub(from as u16)),
        }
    }

    /// Milliseconds over which QEMU was watched, if long enough to tell what stands still.
    pub(super) fn watched_ms(&self) -> Option<u64> {
        let ms = self.last()?.at_ms.saturating_sub(self.first()?.at_ms);
        (ms >= APART_MS).then_some(ms)
    }

    /// Whether QEMU gave an answer while it was watched.
    pub(super) fn answers(&self) -> bool {
        self.qemu.windows(2).any(|it| matches!(it, [a, b] if a.used_idx != b.used_idx))
    }

    /// Answers in the ring that the driver had not taken; none where the two looks are not of the same
    /// answers, so that the driver may have taken them in between.
    pub(super) fn untaken(&self) -> u32 {
        let qemus = self.last().and_then(|it| it.used_idx);
        let used = match self.queue.used_idx {
            Some(ring) if qemus.is_some_and(|it| it != ring) => return 0,
            ring => ring.or(qemus),
        };
        let count = used.map_or(0, |it| self.ahead(self.queue.last_used_idx, it));
        // No driver leaves more than the ring holds.
        if count > self.queue.size { 0 } else { count }
    }

    /// Chains offered that QEMU has not taken, by its last word.
    pub(super) fn untaken_by_qemu(&self) -> u32 {
        let taken = self.last().and_then(|it| it.last_avail_idx);
        let count = taken.map_or(0, |it| self.ahead(it, self.queue.avail_idx));
        if count > self.queue.size { 0 } else { count }
    }

    /// For how long at least chains had lain there when QEMU was last asked, and had not been taken; `None`
    /// if they may have come later.
    pub(super) fn offered_for_ms(&self) -> Option<u64> {
        let last = self.last()?;
        let by_look = self.looked_ms.and_then(|(_, it)| {
            let before = i64::try_from(last.at_ms).ok()?.checked_sub(it)?;
            u64::try_from(before).ok()
        });
        // A request that QEMU had not taken, and that is old enough to have been there when it was asked.
        let taken = last.last_avail_idx?;
        let pending = self.untaken_by_qemu();
        let waits = |offered: u32| self.ahead(taken, offered) < pending;
        let chains = self.queue.chains.iter().filter(|it| it.offered.is_some_and(waits));
        let late = self
            .looked_ms
            .map_or(0, |(_, it)| u64::try_from(it.saturating_sub_unsigned(last.at_ms)).unwrap_or(0));
        let oldest = chains.filter_map(|it| self.ages.get(&it.request?).copied()).max();
        let by_age = oldest.and_then(|it| it.checked_sub(late));
        by_look.max(by_age)
    }

    /// For how long at least answers had lain there, untaken, when memory was read.
    pub(super) fn answered_for_ms(&self) -> Option<u64> {
        let used = self.last()?.used_idx?;
        let since = self.qemu.iter().find(|it| it.used_idx == Some(used))?.at_ms;
        u64::try_from(self.looked_ms?.0.checked_sub_unsigned(since)?).ok()
    }

    /// Whether the driver wants an interrupt for the answers that lie there.
    pub(super) fn wants_interrupt(&self) -> bool {
        match self.queue.used_event {
            // vring_need_event() of include/uapi/linux/virtio_ring.h, from the answers taken to those given.
            Some(event) => self.ahead(self.queue.last_used_idx, event) < self.untaken(),
            None => !self.queue.no_interrupt,
        }
    }

    /// Whether QEMU asked to be told of the first chain that it has not taken.
    pub(super) fn wants_notification(&self) -> bool {
        let taken = self.last().and_then(|it| it.last_avail_idx);
        match (self.queue.avail_event, taken) {
            (Some(event), Some(taken)) => self.ahead(taken, event) < self.untaken_by_qemu(),
            _ => !self.queue.no_notify,
        }
    }

    /// The age of the oldest request.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.requests.iter().filter_map(|it| it.age_ms).max()
    }
}
