//! Watches the QEMU process: gone, stopped, running.
//!
//! By looking twice a second, not by waiting: a pidfd would tell an end at once and nothing of a
//! stop, which only a parent is told of (waitpid(2), WUNTRACED). So an end is noticed up to 0.5 s
//! after it was, a stop likewise.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use vmward_model::Incarnation;

use crate::agent::guest::seen::{Process as Fares, Seen};
use crate::node::{Process, Reader};

/// A look so often: bounds how late an end or a stop is noticed. One read of `/proc/PID/stat`, which
/// takes no lock that a wedged process can hold.
const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(400);

/// Looks until the process is gone or nobody listens.
pub(super) async fn watch(incarnation: Incarnation, send: mpsc::Sender<Seen>, nudge: Arc<Notify>) {
    let process = Process::new(incarnation.pid, incarnation.start_ticks, Reader::default(), None);
    let mut before = Fares::Alive;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = match process.state(PATIENCE).await {
            Ok(None) => Fares::Gone,
            Ok(Some('T' | 't')) => Fares::Stopped,
            Ok(Some(_)) => Fares::Alive,
            Err(error) => {
                tracing::debug!(pid = incarnation.pid, "{error}");
                continue;
            }
        };
        if now == before {
            continue;
        }
        before = now;
        if now == Fares::Gone {
            // QEMU's last words (SHUTDOWN) may still be on their way through the monitor's task.
            tokio::time::sleep(EVERY / 2).await;
        }
        if send.send(Seen::Process(now)).await.is_err() || now == Fares::Gone {
            return;
        }
        nudge.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};

    #[tokio::test]
    async fn a_process_that_is_stopped_goes_on_and_ends_is_told_in_this_order() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let line = std::fs::read(format!("/proc/{}/stat", child.id())).unwrap();
        let start_ticks = crate::node::stat::parse(&line).unwrap().start_ticks;
        let incarnation = Incarnation { pid: child.id(), start_ticks, boot: 0 };
        let (send, mut seen) = mpsc::channel(8);
        let task = tokio::spawn(watch(incarnation, send, Arc::new(Notify::new())));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        assert_eq!(seen.recv().await, Some(Seen::Process(Fares::Stopped)));
        kill(pid, Signal::SIGCONT).unwrap();
        assert_eq!(seen.recv().await, Some(Seen::Process(Fares::Alive)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen.recv().await, Some(Seen::Process(Fares::Gone)));
        task.await.unwrap();
    }
}
