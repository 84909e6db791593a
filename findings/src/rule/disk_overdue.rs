//! `disk-overdue`: the guest's own block layer has requests that nobody answers.
//!
//! What: requests that a disk's driver has had for long, read from the guest's memory; and from the border,
//! whether the driver, QEMU or the host's storage has to act next.
//! Why: the guest is sound and waits; where to look is told by who owes.
//! Evidence: the requests with their ages; both sides of the virtqueue; tasks that wait for storage.
//! False alarms: a slow disk holds requests for seconds too: completions in between speak against it.
//! Next steps: whoever owes the answer.

use vmward_kernel_facts::{Debtor, WaitKind};
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::border;
use crate::sign::console::{self, Labels};
use crate::sign::disk::{self, Overdue};
use crate::sign::wait::{NOT_READ, SOURCE, Waits};
use crate::sign::{age, count};

pub(super) struct DiskOverdue;

/// Tasks told one by one.
const MAX_TOLD: usize = 4;

impl Rule for DiskOverdue {
    fn name(&self) -> &'static str {
        "disk-overdue"
    }

    fn class(&self) -> Class {
        Class::DiskStall
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(waits) = Waits::of(case) else { return Checked::Unknown(NOT_READ.to_owned()) };
        let overdue = disk::overdue(case);
        let Some(worst) = overdue.first() else { return Checked::No };
        let mut draft = Draft::new(Confidence::Possible)
            .detail("disk", worst.name)
            .detail("requests", count(worst.requests, "request"))
            .detail("oldest", age(worst.oldest_ms));
        for it in overdue.iter().take(MAX_TOLD) {
            draft = draft.because(SOURCE, it.sentence());
        }
        if matches!(console::labels(case), Some(Labels::Stopped(_))) {
            draft = draft.because("console:labels", "the application's labels stopped");
            draft.confidence = Confidence::Likely;
        }
        let waiting = waits.waiting(WaitKind::is_io);
        if waiting.is_empty() {
            draft = draft.although(SOURCE, "no task is shown to wait for storage for long");
        } else {
            draft.confidence = Confidence::Likely;
        }
        for edge in waiting.iter().take(MAX_TOLD) {
            draft = draft.because(SOURCE, waits.sentence(edge));
        }
        if waiting.len() > MAX_TOLD {
            draft = draft.because(SOURCE, format!("{} so", count(waiting.len() - MAX_TOLD, "more task")));
        }
        let owing = disk::owing(case).unwrap_or_default();
        for it in &owing {
            draft = draft.because("capture:queues", it.sentence());
        }
        draft = debtor(case, worst, draft);
        if owing.is_empty() && disk::moves(case) {
            draft =
                draft.although("capture:blocks", "disks complete requests meanwhile: it may only be slow");
            draft.confidence = Confidence::Possible;
        }
        Checked::Yes(draft)
    }
}

/// What the border says of the disk. The details `guest`, `kick`, `qemu`, `storage` and `interrupt` are there
/// for the debtor of that name only: each brings its own next steps.
fn debtor(case: &Case, worst: &Overdue<'_>, mut draft: Draft) -> Draft {
    let Some((device, queue)) = border::of_disk(case, worst.name) else { return draft };
    for it in queue.evidence.iter().take(MAX_TOLD) {
        draft = draft.because(border::SOURCE, it);
    }
    if let Some(words) = border::words(&queue.who_owes) {
        draft = draft
            .detail("debtor", words)
            .because(border::SOURCE, format!("queue {} of {}: {words} has to act", queue.index, device.name));
    }
    let backend = if device.backend.is_empty() { "the disk".to_owned() } else { device.backend.join(", ") };
    match &queue.who_owes {
        Debtor::Guest => draft.detail("guest", &device.name),
        Debtor::LostKick => draft.detail("kick", &device.name),
        Debtor::LostInterrupt => draft.detail("interrupt", &device.name),
        Debtor::HostStorage => draft.detail("storage", backend),
        Debtor::Qemu => {
            let threads = device.threads.iter().map(|it| format!("{} ({})", it.tid, it.comm));
            draft.detail("qemu", threads.take(4).collect::<Vec<_>>().join(", "))
        }
        Debtor::Moving => {
            draft.confidence = Confidence::Possible;
            draft.although(border::SOURCE, "answers came on its queue while it was watched")
        }
        Debtor::Nobody => draft.although(border::SOURCE, "nothing is under way on its queue"),
        Debtor::Unknown { reason } => {
            draft.although(border::SOURCE, format!("who has to act is not known: {reason}"))
        }
    }
}
