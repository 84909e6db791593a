//! `io-errors`: a disk gave errors.
//!
//! What: the guest's kernel reported I/O errors, or QEMU counted failed operations during the diagnosis.
//! Why: a file system that met one may be read-only or wrong.
//! Evidence: console lines; QEMU's BLOCK_IO_ERROR events; counters.
//! False alarms: removable media.
//! Next steps: the disk's image on the host, then a file system check.

use vmward_model::{Class, Confidence};

use super::{Checked, Draft, Rule};
use crate::Case;
use crate::sign::console;

pub(super) struct IoErrors;

impl Rule for IoErrors {
    fn name(&self) -> &'static str {
        "io-errors"
    }

    fn class(&self) -> Class {
        Class::Suspect
    }

    fn check(&self, case: &Case) -> Checked {
        let mut draft = Draft::new(Confidence::Certain);
        if let Some(it) = console::trouble(case, &["io-error"]).last() {
            draft = draft.because("console", it.title.clone());
        }
        if let Some((_, name)) = console::qemu_event(case, &["BLOCK_IO_ERROR"]) {
            draft = draft.because(&format!("event:{name}"), "QEMU told of an I/O error");
        }
        let samples = case.observed.blocks.as_ref().map_or(&[][..], |it| it);
        if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
            for it in &last.devices {
                let before =
                    first.devices.iter().find(|old| old.device == it.device).map_or(0, |old| old.failed_ops);
                if it.failed_ops > before {
                    let text =
                        format!("{}: {} operations failed meanwhile", it.device, it.failed_ops - before);
                    draft = draft.because("capture:blocks", text);
                }
            }
        }
        if draft.evidence.is_empty() { Checked::No } else { Checked::Yes(draft) }
    }
}
