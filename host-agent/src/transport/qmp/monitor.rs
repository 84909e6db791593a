//! A guest's monitor: how its QMP socket is used over time.
//!
//! * [`Policy::Hold`]: the socket is ours; one connection stays, all events are seen.
//! * [`Policy::Brief`]: the socket is shared with the guest's manager (EVE's `qmp`, Proxmox). We
//!   connect, ask and leave well within a second; holding it longer freezes the manager. Events
//!   are incomplete and the history says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use super::allowed::{Allowed, HmpRead};
use super::book::Book;
use super::client::{Deadlines, Qmp};
use super::error::{ConnectError, QmpError};

/// Longest session on a shared socket, counted from the attempt to connect.
pub const BRIEF_SESSION: Duration = Duration::from_millis(800);

/// How the socket may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Ours alone: stay connected.
    Hold,
    /// Shared: connect, ask, leave.
    Brief,
}

/// What the caller knows of the monitor.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The QMP socket.
    pub path: PathBuf,
    /// How it may be used.
    pub policy: Policy,
    /// Deadlines of the steps.
    pub deadlines: Deadlines,
    /// QEMU's pid where it is known from elsewhere.
    pub pid: Option<u32>,
}

/// The monitor of one guest; owned by that guest's actor, cheap to clone.
///
/// The one lock here is per guest: it makes sessions on a shared socket take turns, which the socket
/// would force on us anyway. On a held socket commands overlap; only connecting takes turns.
#[derive(Debug, Clone)]
pub struct Monitor {
    settings: Arc<Settings>,
    book: Book,
    slot: Arc<Mutex<Option<Qmp>>>,
}

/// While this lives, the monitor keeps off the socket: it belongs to the guardian.
#[derive(Debug)]
pub struct Lease {
    _slot: OwnedMutexGuard<Option<Qmp>>,
}

impl Monitor {
    /// A monitor that has not connected yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let book = Book::default();
        if settings.policy == Policy::Brief {
            book.incomplete();
        }
        Self { settings: Arc::new(settings), book, slot: Arc::default() }
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Events and wire log over all connections so far.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Runs `work` on a connection. On a shared socket the whole session ends within
    /// [`BRIEF_SESSION`].
    ///
    /// # Errors
    /// [`QmpError`]; `work`'s own result is inside.
    pub async fn session<T>(&self, work: impl AsyncFnOnce(&Qmp) -> T) -> Result<T, QmpError> {
        match self.settings.policy {
            Policy::Hold => {
                let qmp = self.held().await?;
                Ok(work(&qmp).await)
            }
            Policy::Brief => {
                let _turn = self.turn().await?;
                let began = Instant::now();
                let step = BRIEF_SESSION / 2;
                let mut deadlines = self.settings.deadlines;
                deadlines.connect = deadlines.connect.min(step);
                deadlines.greeting = deadlines.greeting.min(step);
                deadlines.negotiation = deadlines.negotiation.min(step);
                let qmp = self.connect(deadlines).await?;
                let left = BRIEF_SESSION.saturating_sub(began.elapsed());
                let done = timeout(left, work(&qmp)).await;
                qmp.leave().await;
                done.map_err(|_| QmpError::OverTime(BRIEF_SESSION))
            }
        }
    }

    /// Asks one question of rung L1.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn ask<C: Allowed>(&self, command: C, within: Duration) -> Result<C::Ok, QmpError> {
        let answer = self.session(async |qmp| qmp.ask(command, within).await);
        Ok(answer.await??)
    }

    /// Asks one question of rung L1 for the raw answer.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn ask_raw<C: Allowed>(&self, command: C, within: Duration) -> Result<Value, QmpError> {
        let answer = self.session(async |qmp| qmp.ask_raw(command, within).await);
        Ok(answer.await??)
    }

    /// One read through the human monitor.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn hmp(&self, read: HmpRead, within: Duration) -> Result<String, QmpError> {
        let answer = self.session(async |qmp| qmp.hmp(read, within).await);
        Ok(answer.await??)
    }

    /// Leaves the socket and keeps off it until the lease is dropped. Questions meanwhile fail with
    /// [`ConnectError::Lent`] after a short wait.
    pub async fn lend(&self) -> Lease {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if let Some(qmp) = slot.take() {
            qmp.leave().await;
        }
        Lease { _slot: slot }
    }

    /// Leaves the socket; the next question connects again.
    pub async fn leave(&self) {
        if let Some(qmp) = self.slot.lock().await.take() {
            qmp.leave().await;
        }
    }

    async fn held(&self) -> Result<Qmp, ConnectError> {
        let mut slot = self.turn().await?;
        if let Some(qmp) = slot.as_ref().filter(|q| q.is_open()) {
            return Ok(qmp.clone());
        }
        *slot = None;
        let qmp = self.connect(self.settings.deadlines).await?;
        *slot = Some(qmp.clone());
        Ok(qmp)
    }

    /// Waits for the slot at most as long as a whole connection attempt of somebody else may take.
    async fn turn(&self) -> Result<OwnedMutexGuard<Option<Qmp>>, ConnectError> {
        let d = self.settings.deadlines;
        let patience = (d.connect + d.greeting + d.negotiation).max(BRIEF_SESSION * 2);
        timeout(patience, Arc::clone(&self.slot).lock_owned()).await.map_err(|_| ConnectError::Lent)
    }

    async fn connect(&self, deadlines: Deadlines) -> Result<Qmp, ConnectError> {
        let s = &self.settings;
        Qmp::connect(&s.path, self.book.clone(), deadlines, s.pid).await
    }
}
