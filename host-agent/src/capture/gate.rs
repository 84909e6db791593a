//! The gate to rung L1: never while a vCPU thread is stuck in the host's kernel.
//!
//! On KVM `info registers` kicks each vCPU and waits for it under QEMU's big lock
//! (`cpu_synchronize_state`); a thread that sits in state D never comes, and the monitor is lost with it.

use std::time::Duration;

use crate::node::Process;

/// Looks taken; a thread that reads a page from disk is in D for a moment, a stuck one in all of them.
const LOOKS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_millis(500);

/// Why rung L1 may not be climbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The process has ended.
    Gone(String),
    /// It is stopped by a signal or a tracer.
    Stopped(String),
    /// A vCPU is stuck, or that cannot be told.
    Stuck(String),
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Closed::Gone(why) | Closed::Stopped(why) | Closed::Stuck(why)) = self;
        f.write_str(why)
    }
}

/// Why rung L1 may not be climbed, if it may not.
pub(super) async fn closed(process: &Process, vcpus: &[u32]) -> Option<Closed> {
    let pid = process.pid();
    match process.state(PATIENCE).await {
        Ok(Some('T' | 't')) => {
            return Some(Closed::Stopped(format!("QEMU (pid {pid}) is stopped by a signal or a tracer")));
        }
        Ok(Some(_)) => {}
        Ok(None) => return Some(Closed::Gone(format!("the QEMU process (pid {pid}) is gone"))),
        Err(why) => return Some(Closed::Stuck(format!("whether QEMU can be asked is not known: {why}"))),
    }
    let look = |tids: Vec<u32>| async move { process.thread_states(&tids, PATIENCE).await };
    stuck(vcpus, look).await.map(Closed::Stuck)
}

/// Why no vCPU may be kicked, from several looks at the states of their threads.
async fn stuck<E, F>(vcpus: &[u32], mut look: impl FnMut(Vec<u32>) -> F) -> Option<String>
where
    E: std::fmt::Display,
    F: Future<Output = Result<Vec<(u32, char)>, E>>,
{
    let mut stuck: Vec<u32> = vcpus.to_vec();
    for n in 0..LOOKS {
        if stuck.is_empty() {
            return None;
        }
        if n > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        match look(stuck.clone()).await {
            Ok(states) => {
                stuck = states.into_iter().filter(|(_, state)| *state == 'D').map(|(tid, _)| tid).collect()
            }
            Err(why) => return Some(format!("whether a vCPU is stuck is not known: {why}")),
        }
    }
    stuck.first().map(|tid| format!("vCPU thread {tid} is stuck in the host's kernel (state D)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Reader, stat};

    fn process(pid: u32) -> Process {
        let line = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
        Process::new(pid, stat::parse(&line).unwrap().start_ticks, Reader::default(), None)
    }

    #[tokio::test]
    async fn the_gate_is_open_for_a_process_that_runs_and_closed_for_one_that_is_stopped_or_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let sleeper = process(child.id());
        assert_eq!(closed(&sleeper, &[child.id()]).await, None);

        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let mut why = None;
        for _ in 0..100 {
            why = closed(&sleeper, &[]).await;
            if why.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(why, Some(Closed::Stopped(_))), "{why:?}");

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(closed(&sleeper, &[]).await, Some(Closed::Gone(_))));
    }

    /// What the gate says of threads 1 and 2 whose states are `looks`, one string a look.
    async fn verdict(looks: &[&str]) -> Option<String> {
        let mut looks = looks.iter();
        let look = |tids: Vec<u32>| {
            let states =
                looks.next().map(|it| (1..).zip(it.chars()).filter(|(tid, _)| tids.contains(tid)).collect());
            std::future::ready(states.ok_or("no more looks"))
        };
        stuck(&[1, 2], look).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_closes_the_gate_when_every_look_finds_it_in_the_kernel() {
        assert!(verdict(&["SD", "SD", "DD", "SD"]).await.unwrap().contains("thread 2 is stuck"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_reads_a_page_for_a_moment_does_not() {
        assert_eq!(verdict(&["DS", "DS", "RD"]).await, None);
        assert_eq!(verdict(&["SR"]).await, None);
    }

    #[tokio::test]
    async fn what_cannot_be_looked_at_closes_the_gate() {
        assert!(verdict(&["DD"]).await.unwrap().contains("not known"));
    }
}
