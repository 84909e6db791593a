//! Watches the monitor: asks `query-status` at its turn, and hears the events.

use std::sync::Arc;
use std::time::Duration;

use qapi::qmp::query_status;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::timeout;
use vmward_model::Incarnation;
use vmward_model::observed::MonitorHealth;

use crate::agent::guest::seen::{Monitor as Answer, Seen};
use crate::capture::{KnownLayout, OverQmp};
use crate::look::layout_of;
use crate::transport::qmp::{AskError, ConnectError, Monitor, Policy, QmpError, short};

/// A held socket is asked so often; a shared one, on which each question is a visit, less.
const HELD: Duration = Duration::from_secs(2);
const SHARED: Duration = Duration::from_secs(10);
/// After trouble the next question comes this soon, so that two of them tell silence from a hitch.
const AGAIN: Duration = Duration::from_secs(1);
/// A monitor that tells no layout for half an hour is left alone; the command line has to do then.
const LAYOUT_TRIES: u32 = 180;
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks until nobody listens.
pub(super) async fn ask(monitor: Monitor, send: mpsc::Sender<Seen>, nudge: Arc<Notify>) {
    let every = if monitor.settings().policy == Policy::Hold { HELD } else { SHARED };
    loop {
        let mut next = every;
        let answer = monitor.ask_raw(query_status {}, PATIENCE).await;
        if let Some(seen) = understood(answer) {
            if seen.health != MonitorHealth::Answers {
                next = AGAIN;
            }
            if send.send(Seen::Monitor(seen)).await.is_err() {
                return;
            }
        }
        // An event may say that the state changed: then it is asked before its turn, but never
        // faster than this, whatever the guest does.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(timeout(next, nudge.notified()).await);
    }
}

/// Asks once where the guest's memory stands, so that it can be read when the monitor no longer answers.
pub(super) async fn layout(monitor: Monitor, incarnation: Incarnation, known: KnownLayout) {
    let monitor = OverQmp(monitor);
    for _ in 0..LAYOUT_TRIES {
        match layout_of(&monitor).await {
            Ok(layout) => return known.set(incarnation, layout),
            Err(why) => {
                tracing::debug!(pid = incarnation.pid, "the layout of memory is not known yet: {why}")
            }
        }
        tokio::time::sleep(SHARED).await;
    }
}

/// Passes events on until nobody listens.
pub(super) async fn listen(monitor: Monitor, send: mpsc::Sender<Seen>) {
    let mut events = monitor.book().subscribe();
    loop {
        match events.recv().await {
            Ok(event) => {
                let seen = Seen::Qmp { name: event.name, data: event.data };
                if send.send(seen).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "QMP events came faster than they were taken");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What an answer says of the monitor; none when it says nothing (it is lent out).
fn understood(answer: Result<serde_json::Value, QmpError>) -> Option<Answer> {
    let error = match answer {
        Ok(value) => {
            let status = value.get("status").and_then(serde_json::Value::as_str).map(short);
            return Some(Answer { health: MonitorHealth::Answers, status, why: String::new() });
        }
        Err(error) => error,
    };
    let health = match &error {
        QmpError::Connect(error) => of_connect(error)?,
        QmpError::Ask(error) => of_ask(error),
        QmpError::OverTime(_) => MonitorHealth::Silent,
    };
    let why = if health == MonitorHealth::Answers { String::new() } else { error.to_string() };
    Some(Answer { health, status: None, why })
}

fn of_connect(error: &ConnectError) -> Option<MonitorHealth> {
    Some(match error {
        ConnectError::Lent => return None,
        ConnectError::Busy { peer, .. } => MonitorHealth::Busy { peer: peer.to_string() },
        ConnectError::QemuStopped { .. } | ConnectError::Silent { .. } | ConnectError::Negotiation { .. } => {
            MonitorHealth::Silent
        }
        ConnectError::Garbage { .. } => MonitorHealth::Garbage,
        ConnectError::Closed { .. } => MonitorHealth::Closed,
        ConnectError::NoSocket { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Denied { .. }
        | ConnectError::QemuGone { .. }
        | ConnectError::Io { .. } => MonitorHealth::Absent,
    })
}

fn of_ask(error: &AskError) -> MonitorHealth {
    match error {
        AskError::Timeout { .. } | AskError::Backlogged { .. } => MonitorHealth::Silent,
        AskError::Garbage { .. } => MonitorHealth::Garbage,
        AskError::Closed { mid_reply: true, .. } => MonitorHealth::Closed,
        // An orderly end looks like this; the process tells the rest.
        AskError::Closed { .. } => MonitorHealth::Absent,
        // A refusal is an answer, and so is one of an unknown shape.
        AskError::Refused { .. } | AskError::Shape { .. } => MonitorHealth::Answers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_monitor_says_nothing_and_a_refusal_is_an_answer() {
        assert_eq!(understood(Err(ConnectError::Lent.into())), None);
        let refused = AskError::Refused { command: "query-status", class: "x".into(), desc: "y".into() };
        assert_eq!(understood(Err(refused.into())).map(|it| it.health), Some(MonitorHealth::Answers));
        let silent = AskError::Timeout { command: "query-status", waited: PATIENCE };
        assert_eq!(understood(Err(silent.into())).map(|it| it.health), Some(MonitorHealth::Silent));
    }
}
