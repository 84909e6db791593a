//! The live view: every answer as it is given, for whoever looks on.

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use vmward_model::{GuestId, GuestState, ProbeAnswer};

/// A looker-on may lag this far before it loses answers.
const LAG: usize = 512;

/// One answer of one guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// Which guest.
    pub guest: GuestId,
    /// Its name. Escape before showing.
    pub name: String,
    /// Its state.
    pub state: GuestState,
    /// The answer.
    pub answer: ProbeAnswer,
}

/// The channel. Telling never waits for who listens.
#[derive(Clone, Debug)]
pub struct Live(broadcast::Sender<LiveAnswer>);

impl Default for Live {
    fn default() -> Live {
        Live(broadcast::channel(LAG).0)
    }
}

impl Live {
    /// Tells an answer to whoever listens, which may be nobody.
    pub fn tell(&self, answer: LiveAnswer) {
        drop(self.0.send(answer));
    }

    /// Answers from now on.
    pub fn listen(&self) -> broadcast::Receiver<LiveAnswer> {
        self.0.subscribe()
    }
}
