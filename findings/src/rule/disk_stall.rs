//! `disk-stall`: a disk took requests and answers none.
//!
//! What: a disk's virtqueue holds requests, and none was completed from the first look to the last.
//! Why: the guest is sound and waits; what does not answer is behind QEMU (image, network storage).
//! Evidence: virtqueues watched over time; block counters; guest tasks that wait for storage.
//! False alarms: a slow disk completes something in the time of a diagnosis. A single request that
//! takes longer than the watch (a large discard, a flush to a busy array) looks the same: hence
//! merely possible where nothing in the guest is known to wait.
//! Next steps: QEMU's disk backend on the host.

use vmward_kernel_facts::WaitKind;
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule, disk_overdue};
use crate::Case;
use crate::sign::disk::{self, Owing};
use crate::sign::{console, count, task};

pub(super) struct DiskStall;

impl Rule for DiskStall {
    fn name(&self) -> &'static str {
        "disk-stall"
    }

    fn class(&self) -> Class {
        Class::DiskStall
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(owing) = disk::owing(case) else {
            return Checked::Unknown("virtqueues were not sampled over time".to_owned());
        };
        // Where memory tells more, another rule says the same with the requests and who owes the answer.
        if owing.is_empty() || matches!(disk_overdue::DiskOverdue.check(case), Checked::Yes(_)) {
            return Checked::No;
        }
        let mut draft = owed(Draft::new(Confidence::Possible), &owing);
        let labels = console::labels(case);
        if matches!(labels, Some(console::Labels::Stopped(_))) {
            draft = draft.because("console:labels", "the application's labels stopped");
            draft.confidence = Confidence::Likely;
        }
        match task::blocked(case) {
            Some(blocked) => {
                let waiting = task::waiting(&blocked, WaitKind::is_io);
                if waiting.is_empty() {
                    draft = draft.although(task::source(case), "no task is seen waiting for storage");
                } else {
                    let text = format!("{} for storage: {}", waits(waiting.len()), task::names(&waiting));
                    draft = draft.because(task::source(case), text);
                    draft.confidence = Confidence::Likely;
                }
            }
            None => {
                let text =
                    format!("{}, so that locks behind the disk were not looked for", task::why_no_list(case));
                draft = draft.although(task::source(case), text);
            }
        }
        Checked::Yes(draft)
    }
}

pub(super) fn waits(n: usize) -> String {
    format!("{} wait{}", count(n, "task"), if n == 1 { "s" } else { "" })
}

/// What the disk owes, as evidence and details.
pub(super) fn owed(mut draft: Draft, owing: &[Owing]) -> Draft {
    for it in owing {
        draft = draft.because("capture:queues", it.sentence());
    }
    let total: u64 = owing.iter().map(|it| u64::from(it.inuse)).sum();
    let paths: std::collections::BTreeSet<&str> = owing.iter().map(|it| it.path.as_str()).collect();
    draft.detail("owed", total).detail("disk", paths.into_iter().collect::<Vec<_>>().join(", "))
}
