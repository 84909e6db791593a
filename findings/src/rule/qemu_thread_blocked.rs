//! `qemu-thread-blocked`: a thread of QEMU is blocked in the host's kernel.
//!
//! What: a thread of QEMU is in uninterruptible sleep on the host.
//! Why: storage or a driver of the host does not answer; a vCPU thread in there is a vCPU that stands.
//! Evidence: state, wait channel and host kernel stack of that thread.
//! False alarms: ordinary I/O passes through this state; one look cannot tell how long it lasts.
//! Next steps: the host's kernel log; the storage behind the guest's disks.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;

pub(super) struct QemuThreadBlocked;

impl Rule for QemuThreadBlocked {
    fn name(&self) -> &'static str {
        "qemu-thread-blocked"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let Some(host) = &case.observed.host else {
            return Checked::Unknown("the host's side was not captured".to_owned());
        };
        let blocked: Vec<_> = host.threads.iter().filter(|it| it.state == 'D').collect();
        if blocked.is_empty() {
            return Checked::No;
        }
        let mut draft = Draft::new(Confidence::Possible).detail("threads", blocked.len());
        for it in blocked.iter().take(4) {
            let place = it.wchan.as_deref().unwrap_or("an unknown place");
            draft =
                draft.because("capture:host", format!("thread {} ({}) is in D in {place}", it.tid, it.comm));
        }
        Checked::Yes(draft)
    }
}
