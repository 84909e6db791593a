//! The border between a guest and its host: what the guest's driver has asked for, what QEMU says of the
//! same queue, what QEMU's threads do, and, made from that, who owes whom.
//!
//! A verdict never says more than the numbers beside it: where one look cannot tell what stands still from
//! what moves, it is [`Debtor::Unknown`] with the reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who has to act next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "who", rename_all = "kebab-case")]
pub enum Debtor {
    /// Nothing is under way.
    #[default]
    Nobody,
    /// Things are under way and move: answers came while we looked.
    Moving,
    /// The guest: answers are there and its driver has not taken them, or it gave the queue up.
    Guest,
    /// The driver offered requests and QEMU, which sleeps, has not heard of them.
    LostKick,
    /// QEMU: the thread that serves the queue is stopped, spins, or is blocked on something of its own.
    Qemu,
    /// The storage of the host: QEMU took the requests and gave them on, and sleeps until they are done.
    HostStorage,
    /// QEMU answered and raised the interrupt, and the guest has not seen it.
    LostInterrupt,
    /// The numbers at hand do not tell.
    Unknown {
        /// Why not.
        reason: String,
    },
}

impl Debtor {
    /// How much it matters: a device's debtor is its queues' gravest.
    pub fn gravity(&self) -> u8 {
        match self {
            Self::Nobody => 0,
            Self::Moving => 1,
            Self::Unknown { .. } => 2,
            Self::Guest => 3,
            Self::LostInterrupt => 4,
            Self::LostKick => 5,
            Self::Qemu => 6,
            Self::HostStorage => 7,
        }
    }

    /// Whether something is owed that does not move.
    pub fn is_stuck(&self) -> bool {
        self.gravity() > 2
    }
}

/// How QEMU's device was told to be the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MatchedBy {
    /// Both name the same addresses for a ring.
    RingAddress,
}

/// What QEMU says of a queue at one moment (`x-query-virtio-queue-status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QemuQueue {
    /// Milliseconds after the first look.
    pub at_ms: u64,
    /// Requests that it has taken and not answered.
    pub inuse: u32,
    /// The next request that it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_avail_idx: Option<u32>,
    /// What it last read of the driver's index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_avail_idx: Option<u32>,
    /// The next answer that it will give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_idx: Option<u32>,
    /// Up to which answer it has decided on an interrupt; `None` if it does not say or has not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signalled_used: Option<u32>,
}

/// A request that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BorderRequest {
    /// The disk.
    pub disk: String,
    /// `read`, `write`, `flush`, `discard`.
    pub operation: String,
    /// First sector, of 512 bytes.
    pub sector: u64,
    /// Bytes.
    pub bytes: u32,
    /// The driver's number of it.
    pub tag: u32,
    /// Since when, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// The file system and the number of the inode whose pages it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<(String, u64)>,
    /// Tasks that wait for a page of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiters: Vec<u32>,
}

/// A thread of QEMU that serves a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BorderThread {
    /// Thread id on the host.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// State letter of `/proc/PID/task/TID/stat`.
    pub state: char,
    /// Where it sleeps in the host's kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// CPU time in percent of the time in which it was watched.
    pub cpu_percent: u64,
}

/// One queue, from both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BorderQueue {
    /// Its number.
    pub index: u32,
    /// The driver's name for it.
    pub name: String,
    /// The guest's index of what it offered.
    pub avail_idx: u32,
    /// The guest's index of the answers that it took.
    pub last_used_idx: u32,
    /// The device's index of answers, as it stands in the ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_idx: Option<u32>,
    /// Chains that the driver has offered and whose answers it has not taken.
    pub outstanding: u32,
    /// What QEMU said, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qemu: Vec<QemuQueue>,
    /// Requests under way, oldest first; never more than a page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<BorderRequest>,
    /// Who has to act.
    pub who_owes: Debtor,
    /// Since when at least, in milliseconds: the age of the oldest request, or for how long we looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// The numbers that the verdict was made from, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// One virtio device, from the driver to what serves it on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BorderDevice {
    /// Its name in the guest (`virtio0`).
    pub name: String,
    /// The guest's driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Its PCI address in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Disks and network interfaces in the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<String>,
    /// QEMU's path of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_path: Option<String>,
    /// How that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_by: Option<MatchedBy>,
    /// What it is on the host: QEMU's backend, files, block devices, sockets. Where QEMU has several and none
    /// could be told to be this device's, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend: Vec<String>,
    /// Threads that may serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<BorderThread>,
    /// Its queues.
    pub queues: Vec<BorderQueue>,
    /// Who has to act: of its queues the gravest.
    pub who_owes: Debtor,
}

/// The border of one guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Border {
    /// Every virtio device of the guest.
    pub devices: Vec<BorderDevice>,
    /// What could not be seen, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Border {
    /// Queues on which something is owed that does not move, gravest first.
    pub fn stuck(&self) -> Vec<(&BorderDevice, &BorderQueue)> {
        let all = self.devices.iter().flat_map(|device| device.queues.iter().map(move |it| (device, it)));
        let mut stuck: Vec<_> = all.filter(|(_, queue)| queue.who_owes.is_stuck()).collect();
        stuck.sort_by_key(|(_, queue)| std::cmp::Reverse(queue.who_owes.gravity()));
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_debt_comes_first_and_what_moves_is_none() {
        let queue = |who_owes| BorderQueue { who_owes, ..BorderQueue::default() };
        let queues = vec![
            queue(Debtor::Moving),
            queue(Debtor::Unknown { reason: "one look only".into() }),
            queue(Debtor::Guest),
            queue(Debtor::HostStorage),
        ];
        let border =
            Border { devices: vec![BorderDevice { queues, ..Default::default() }], ..Default::default() };
        let stuck: Vec<_> = border.stuck().into_iter().map(|(_, it)| it.who_owes.clone()).collect();
        assert_eq!(stuck, [Debtor::HostStorage, Debtor::Guest]);
    }
}
