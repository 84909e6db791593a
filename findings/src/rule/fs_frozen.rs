//! `fs-frozen`: a file system was frozen, and tasks wait for it to be thawed.
//!
//! What: a file system that the kernel calls frozen (`super_block.s_writers.frozen`), and tasks that have
//! waited for long to write to one.
//! Why: a freeze ends when whoever made it thaws: `fsfreeze`, a backup, the guest agent of a snapshot. One
//! that died in between leaves it frozen for ever.
//! Evidence: the super block, where it is mounted, the waiting tasks with the queue that holds them.
//! False alarms: a snapshot that takes its time ends by itself; a frozen file system that nobody waits for
//! is no trouble.
//! Next steps: thaw it, from the guest or through its agent.

use vmward_kernel_facts::WaitKind;
use vmward_kernel_facts::machine::{Mounts, SuperBlock};
use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::wait::{NOT_READ, SOURCE, Waits};
use crate::sign::{age, count};

pub(super) struct FsFrozen;

/// Tasks told one by one.
const MAX_TOLD: usize = 4;

impl Rule for FsFrozen {
    fn name(&self) -> &'static str {
        "fs-frozen"
    }

    fn class(&self) -> Class {
        Class::LockWait
    }

    fn check(&self, case: &Case) -> Checked {
        let (Some(waits), Some(look)) = (Waits::of(case), &case.kernel.look) else {
            return Checked::Unknown(NOT_READ.to_owned());
        };
        let Some(mounts) = &look.machine.mounts else {
            return Checked::Unknown("the guest's mounts could not be read".to_owned());
        };
        let frozen: Vec<&SuperBlock> = mounts.frozen().take(16).collect();
        let waiting = waits.waiting(|it| it == WaitKind::FsFreeze);
        let (Some(first), Some(longest)) = (frozen.first(), waiting.first()) else { return Checked::No };
        let mut draft = Draft::new(Confidence::Likely)
            .detail("mount", path(mounts, first))
            .detail("waiters", count(waiting.len(), "task"))
            .detail("verb", if waiting.len() == 1 { "waits" } else { "wait" });
        if let Some(ns) = longest.waiting_ns {
            draft = draft.detail("longest", age(ns / 1_000_000));
        }
        for it in &frozen {
            let text = format!("{} ({} on {}) is frozen", path(mounts, it), it.filesystem, it.id);
            draft = draft.because(SOURCE, text);
        }
        for edge in waiting.iter().take(MAX_TOLD) {
            draft = draft.because(SOURCE, waits.sentence(edge));
        }
        if waiting.len() > MAX_TOLD {
            let more = count(waiting.len() - MAX_TOLD, "more task");
            draft = draft.because(SOURCE, format!("{more} so"));
        }
        if let [_, _, ..] = frozen[..] {
            draft = draft.although(SOURCE, "for which of them each task waits is not known");
        }
        Checked::Yes(draft)
    }
}

/// Where it is mounted, as process 1 sees it; else its device.
fn path<'a>(mounts: &'a Mounts, of: &'a SuperBlock) -> &'a str {
    let mount = mounts.mounts.iter().find(|it| it.super_block == of.address);
    mount.map_or(&of.id, |it| &it.path)
}
