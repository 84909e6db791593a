//! Keeps the actor of one guest going: one that breaks is caught, told, and started again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use vmward_model::{EventKind, Severity};

use super::actor::{Actor, Manner, Shared};
use super::memory::{self, Memory};
use super::order::Order;
use super::ports::Ports;
use super::seen::Seen;
use crate::agent::events::About;
use crate::agent::scribe::Scribe;

/// After a break the actor starts again this much later; the time doubles up to the second figure.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The inputs of an actor; they outlive one that breaks.
pub struct Inputs {
    /// What its links see.
    pub seen: mpsc::Receiver<Seen>,
    /// What others order.
    pub orders: mpsc::Receiver<Order>,
}

/// Runs the actor until its guest is gone.
pub async fn keep(
    about: About,
    manner: Manner,
    ports: Arc<dyn Ports>,
    shared: Shared,
    first: Memory,
    folder: Option<std::path::PathBuf>,
    inputs: Inputs,
) {
    let inputs = Arc::new(Mutex::new(inputs));
    let mut wait = BACK_OFF.0;
    let mut memory = first;
    loop {
        let scribe = match &folder {
            Some(folder) => Scribe::new(memory::path(folder, about.guest)),
            None => Scribe::nowhere(),
        };
        let (who, how, out, all) = (about.clone(), manner.clone(), ports.clone(), shared.clone());
        let (left, into) = (memory.clone(), inputs.clone());
        let run = tokio::spawn(async move {
            let mut into = into.lock().await;
            let Inputs { seen, orders } = &mut *into;
            Actor::new(who, how, out, all, left, scribe).run(seen, orders).await;
        });
        let mut run = Guard(run);
        let Err(error) = (&mut run.0).await else { return };
        let text = format!("the actor of this guest broke and is started again: {error}");
        shared.events.emit(Severity::Error, Some(&about), EventKind::Note { text });
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
        if let Some(folder) = &folder {
            memory = memory::read(folder, about.guest).unwrap_or(memory);
        }
    }
}

/// Ends the actor with whoever keeps it.
struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
