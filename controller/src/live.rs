//! Tells readers at once what has changed.

use serde::Serialize;
use tokio::sync::broadcast;
use vmward_model::exchange::HostId;
use vmward_model::{GuestId, IncidentId};

/// How many changes a slow reader may be behind before it is told to begin anew.
const BEHIND: usize = 256;

/// What has changed. A reader asks for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Change {
    /// An incident is new, moved on, or has its report.
    Incident {
        /// Which.
        incident: IncidentId,
        /// Whose.
        #[serde(skip_serializing_if = "Option::is_none")]
        guest: Option<GuestId>,
    },
    /// A guest of a host changed.
    Guest {
        /// Which.
        guest: GuestId,
        /// Where.
        host: HostId,
    },
    /// Events came in.
    Event {
        /// From where.
        host: HostId,
        /// How many.
        count: u64,
    },
}

impl Change {
    /// Name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Incident { .. } => "incident",
            Change::Guest { .. } => "guest",
            Change::Event { .. } => "event",
        }
    }
}

/// Where changes are told and heard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live(broadcast::Sender<Change>);

impl Default for Live {
    fn default() -> Live {
        Live(broadcast::channel(BEHIND).0)
    }
}

impl Live {
    /// Tells whoever listens.
    pub fn tell(&self, change: Change) {
        // Nobody listening is no error.
        let _ = self.0.send(change);
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
