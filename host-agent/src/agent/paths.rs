//! Where the agent keeps what: the only place that names files in its folders.

use std::path::PathBuf;

use crate::config::StateConfig;

/// The event store.
pub fn events(state: &StateConfig) -> PathBuf {
    state.folder.join("events")
}

/// Whole bundles, and nothing else but unfinished ones.
pub fn reports(state: &StateConfig) -> PathBuf {
    state.folder.join("reports")
}

/// What waits for a controller.
pub fn spool(state: &StateConfig) -> PathBuf {
    state.folder.join("spool")
}

/// Which host this is, for controllers.
pub fn host(state: &StateConfig) -> PathBuf {
    state.folder.join("host")
}

/// What is remembered of each guest.
pub fn guests(state: &StateConfig) -> PathBuf {
    state.folder.join("guests")
}

/// Rings of console bytes, one folder a guest.
pub fn consoles(state: &StateConfig) -> PathBuf {
    state.folder.join("consoles")
}

/// Figures of the rounds, as JSON lines.
pub fn rounds(state: &StateConfig) -> PathBuf {
    state.folder.join("rounds.jsonl")
}

/// What is known of guests' kernels: where in their images things lie.
pub fn kernels(state: &StateConfig) -> PathBuf {
    state.folder.join("kernels")
}

/// The control socket.
pub fn control(state: &StateConfig) -> PathBuf {
    state.run_folder.join("control.sock")
}
