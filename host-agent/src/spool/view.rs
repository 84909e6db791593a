//! The spool as others see it: read from its folder, whether or not an agent runs.

use std::io;
use std::path::Path;

use serde::Serialize;
use vmward_model::exchange::SpoolCounters;

use super::files::{Files, RealFiles};
use super::ledger::{self, Waiting};
use super::store::{LEDGER, MAX_LEDGER};

/// How a spool stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// The counters.
    pub counters: SpoolCounters,
    /// What waits, in the order of sending: the highest severity first, the oldest within one.
    pub waiting: Vec<Waiting>,
}

/// The highest number of an event that the spool in `folder` knows; 0 where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn events_upto(folder: &Path) -> io::Result<u64> {
    match RealFiles.read(&folder.join(LEDGER), MAX_LEDGER) {
        Ok(bytes) => Ok(ledger::read(&bytes).state.events_upto()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads the spool in `folder`; none where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(folder: &Path) -> io::Result<Option<View>> {
    let bytes = match RealFiles.read(&folder.join(LEDGER), MAX_LEDGER) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A line that the agent is just writing is not whole yet and left out.
    let state = ledger::read(&bytes).state;
    let mut waiting: Vec<Waiting> = state.waiting().cloned().collect();
    waiting.sort_by_key(|it| (std::cmp::Reverse(it.severity), it.seq));
    Ok(Some(View { counters: state.counters(), waiting }))
}
