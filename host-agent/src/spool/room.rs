//! Room in the folder of reports: those that were sent go first, and one that waits only through the
//! spool's order and counters.

use std::io;
use std::path::Path;

use super::files::Files;
use super::ledger::Fate;
use super::store::Spool;
use crate::report::{self, Retention};

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Names of the reports, in the order of going.
    pub(super) reports: Vec<String>,
    /// Those of them that no controller had yet.
    pub(super) unsent: Vec<String>,
}

struct BySpool<'a, F> {
    spool: &'a mut Spool<F>,
    unsent: Vec<String>,
}

impl<F: Files> Retention for BySpool<'_, F> {
    fn rank(&self, name: &str) -> (u8, u64) {
        // 0: sent, refused, or dropped before.
        self.spool.state().waiting_bundle(name).map_or((0, 0), |it| (1 + it.severity as u8, it.seq))
    }

    fn let_go(&mut self, name: &str) -> io::Result<()> {
        if let Some(seq) = self.spool.state().waiting_bundle(name).map(|it| it.seq) {
            self.spool.end(&[(seq, Fate::Dropped)]).map_err(io::Error::other)?;
            self.unsent.push(name.to_owned());
        }
        Ok(())
    }
}

/// Removes reports until those that are left take at most `cap` bytes; `newest` stays.
pub(super) fn make_room<F: Files>(
    spool: &mut Spool<F>,
    reports: &Path,
    cap: u64,
    newest: &Path,
) -> io::Result<Gone> {
    let mut order = BySpool { spool, unsent: Vec::new() };
    let dropped = report::enforce_by(reports, cap, newest, &mut order)?;
    Ok(Gone { reports: dropped.reports, unsent: order.unsent })
}
