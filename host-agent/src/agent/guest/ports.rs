//! What the actor has others do: everything that waits for a guest, a QEMU or a disk.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use vmward_model::{Class, Event, IncidentId, Notice, ProbeAnswer, Verdict};

use super::seen::ShellReply;
use super::view::View;
use crate::agent::events::About;
use crate::probe::Settings;

/// A future that the actor can put into its set.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The ways out of the actor. None of them blocks; what they give may take as long as it likes,
/// because the actor has a deadline on each.
pub trait Ports: Send + Sync {
    /// Types the command of a scenario, named for the prompt that it declares.
    fn shell(&self, scenario: &str, settings: &Settings) -> Later<ShellReply>;

    /// Has `query-status` asked now instead of at its next turn.
    fn ask_status(&self);

    /// The guest was reset: what was known of its prompts is void.
    fn rebooted(&self);

    /// Examines the guest and writes the bundle.
    fn examine(&self, job: Job) -> Later<Result<Examined, String>>;
}

/// One diagnosis.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its incident.
    pub incident: IncidentId,
    /// Whose.
    pub about: About,
    /// How it was noticed.
    pub notice: Notice,
    /// What opened it.
    pub opening: Verdict,
    /// What was known of the guest at that moment.
    pub view: View,
    /// Answers of the last rounds, oldest first.
    pub answers: Vec<ProbeAnswer>,
    /// Events of this guest of late, oldest first.
    pub events: Vec<Event>,
    /// Whether somebody asked for it, with no scenario having failed.
    pub on_demand: bool,
    /// All of it must be over in this time.
    pub within: Duration,
}

/// What came of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Examined {
    /// The final class.
    pub class: Class,
    /// One sentence.
    pub summary: String,
    /// The bundle, whole and synced.
    pub bundle: PathBuf,
}
