//! Watches the QEMU process: gone, stopped, running.
//!
//! A pidfd tells its end at once (pidfd_open(2), Linux 5.3). Of a stop only a parent is told (waitpid(2),
//! WUNTRACED), so there is a look twice a second as well, which also sees the end where there is no pidfd.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use vmward_model::Incarnation;

use crate::agent::guest::seen::{Process as Fares, Seen};
use crate::node::{Process, Reader};

/// A look so often: bounds how late a stop is noticed. One read of `/proc/PID/stat`, which
/// takes no lock that a wedged process can hold.
const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_millis(400);
/// QEMU's last words (SHUTDOWN) may still be on their way through the monitor's task when it has ended.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Looks until the process is gone or nobody listens.
pub(super) async fn watch(incarnation: Incarnation, send: mpsc::Sender<Seen>, nudge: Arc<Notify>) {
    let process = Process::new(incarnation.pid, incarnation.start_ticks, Reader::default(), None);
    // Opened before the first look, which tells whether the pid is still this process's.
    let mut end = end_of(incarnation.pid);
    let mut before = Fares::Alive;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ended(end.as_ref()), if end.is_some() => end = None,
        }
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
            tokio::time::sleep(LAST_WORDS).await;
        }
        if send.send(Seen::Process(now)).await.is_err() || now == Fares::Gone {
            return;
        }
        nudge.notify_one();
    }
}

/// What becomes readable when the process ends; none where the kernel has no such thing. No pipe, but
/// tokio's pipe ends take any descriptor that epoll takes.
fn end_of(pid: u32) -> Option<pipe::Receiver> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let opened = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(std::io::Error::from);
    match opened.and_then(|it| pipe::Receiver::from_file_unchecked(File::from(it))) {
        Ok(end) => Some(end),
        Err(error) => {
            tracing::debug!(?pid, "no pidfd, the end is seen by looking: {error}");
            None
        }
    }
}

/// Waits for the end. An error counts as one: the look that follows tells.
async fn ended(end: Option<&pipe::Receiver>) {
    match end {
        Some(end) => drop(end.readable().await),
        None => std::future::pending().await,
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
    #[tokio::test]
    async fn an_end_is_told_before_the_next_look_and_before_anybody_reaped_the_process() {
        let mut best = Duration::MAX;
        // The best of a few: what is shown is that nothing waits for a look, not how loaded this host is.
        for _ in 0..5 {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let line = std::fs::read(format!("/proc/{}/stat", child.id())).unwrap();
            let start_ticks = crate::node::stat::parse(&line).unwrap().start_ticks;
            let incarnation = Incarnation { pid: child.id(), start_ticks, boot: 0 };
            let (send, mut seen) = mpsc::channel(8);
            let task = tokio::spawn(watch(incarnation, send, Arc::new(Notify::new())));
            // Just after the first look.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let began = std::time::Instant::now();
            child.kill().unwrap();
            assert_eq!(seen.recv().await, Some(Seen::Process(Fares::Gone)));
            best = best.min(began.elapsed());
            task.await.unwrap();
            child.wait().unwrap();
        }
        assert!(best < EVERY, "{best:?}");
    }
}
