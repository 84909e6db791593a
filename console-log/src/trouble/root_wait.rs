//! The kernel waits for its root device, or can not open it (`init/do_mounts.c`).
//!
//! * all, with `rootwait`: `Waiting for root device /dev/vdz...`, once; then silence
//! * all: `VFS: Cannot open root device "vdz" or unknown-block(0,0): error -6`, before the panic;
//!   since v6.6 `VFS: Cannot open root device "/dev/vdz" or unknown-block(0,0): error -6`

use super::{Found, Rule, Severity, TroubleKind};

pub(super) const RULE: Rule =
    Rule { needles: &["Waiting for root device", "VFS: Cannot open root"], recognise };

fn recognise(text: &str) -> Option<Found<'_>> {
    if text.starts_with("Waiting for root device ") {
        return Some(Found::line(TroubleKind::RootWait, Severity::Error, text));
    }
    text.starts_with("VFS: Cannot open root device ")
        .then(|| Found::line(TroubleKind::NoRoot, Severity::Error, text))
}

#[cfg(test)]
mod tests {
    use super::super::{TroubleKind::*, check};

    #[test]
    fn a_missing_root_is_found() {
        check(&[
            ("Waiting for root device /dev/vdz...", Some(RootWait)),
            ("VFS: Cannot open root device \"vdz\" or unknown-block(0,0): error -6", Some(NoRoot)),
        ]);
    }
}
