//! What of a guest outlives the agent: which scenarios it has passed in this life, and its incident.
//!
//! Without it a guest that hangs while the agent restarts would never have passed, and never be
//! called failed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vmward_model::{GuestId, Incarnation, IncidentId, IncidentState, Stamp, Verdict};

/// The document of one guest in the state folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Version of this form.
    pub format: u32,
    /// Whose.
    pub guest: GuestId,
    /// Its name when this was written.
    pub name: String,
    /// In which life of the guest; of another life all of it is void.
    pub incarnation: Incarnation,
    /// Scenarios that passed in this life.
    #[serde(default)]
    pub passed: BTreeSet<String>,
    /// The incident that is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Remembered>,
}

/// An incident as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Which.
    pub id: IncidentId,
    /// Where it stood.
    pub state: IncidentState,
    /// When it was opened.
    pub opened: Stamp,
    /// What opened it.
    pub opening: Verdict,
    /// Scenarios that have failed and are not well again.
    pub failed: BTreeSet<String>,
    /// Its bundle, once whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
}

impl Remembered {
    /// Whether the agent ended in the middle of it: nothing of its diagnosis was kept.
    pub fn was_interrupted(&self) -> bool {
        matches!(self.state, IncidentState::Open | IncidentState::Examining)
    }
}

/// Where the document of a guest is.
pub fn path(folder: &Path, guest: GuestId) -> PathBuf {
    folder.join(format!("{guest}.json"))
}

/// Reads the document of a guest; none when there is none or it cannot be understood.
pub fn read(folder: &Path, guest: GuestId) -> Option<Memory> {
    let path = path(folder, guest);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read {}: {error}; the guest starts afresh", path.display());
            return None;
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(memory) => Some(memory),
        Err(error) => {
            tracing::warn!("cannot understand {}: {error}; the guest starts afresh", path.display());
            None
        }
    }
}

/// Every document in the folder, for the agent's start.
pub fn all(folder: &Path) -> Vec<Memory> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let id = |name: &str| name.strip_suffix(".json")?.parse().ok().map(GuestId);
    let ids = entries.flatten().filter_map(|it| id(it.file_name().to_str()?));
    ids.filter_map(|it| read(folder, it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::durable;

    #[test]
    fn it_is_read_back_and_rubbish_is_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let guest = GuestId::from_name_and_disks("a", &[]);
        assert_eq!(read(dir.path(), guest), None);
        let memory = Memory {
            format: 1,
            guest,
            name: "a".into(),
            incarnation: Incarnation { pid: 1, start_ticks: 2, boot: 0 },
            passed: ["shell-answers".to_owned()].into(),
            incident: None,
        };
        durable::write(&path(dir.path(), guest), &serde_json::to_vec(&memory).unwrap()).unwrap();
        std::fs::write(dir.path().join("notes.json"), "{}").unwrap();
        assert_eq!(all(dir.path()), [memory]);
        std::fs::write(path(dir.path(), guest), "{").unwrap();
        assert_eq!(read(dir.path(), guest), None);
    }
}
