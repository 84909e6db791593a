//! `host-threads` (L0): QEMU's threads over a second: what they are for, state, where they wait in the
//! host's kernel, and how much CPU time they use.
//!
//! What it tells: a vCPU thread that uses a whole CPU spins, one that uses none is halted; a main loop
//! that waits for a futex holds the monitor up; a worker in D waits for the host's disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use vmward_model::observed::{HostThread, ThreadRole};
use vmward_model::{Rung, Sensitivity, TransportKind};

use super::{Capture, Context, Miss, Outcome, Part, Raw, Step, Taken};
use crate::node::threads::role_by_name;

/// How long CPU time is counted.
const WINDOW: Duration = Duration::from_secs(1);
const READ: Duration = Duration::from_millis(800);
/// Threads whose kernel stack is read at most.
const MAX_STACKS: usize = 256;

pub(super) struct HostThreads;

impl Capture for HostThreads {
    fn name(&self) -> &'static str {
        "host-threads"
    }

    fn rung(&self) -> Rung {
        Rung::L0
    }

    fn transport(&self) -> TransportKind {
        TransportKind::Host
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn cap(&self) -> usize {
        512 << 10
    }

    fn take<'a>(&'a self, cx: &'a Context) -> Step<'a, Outcome> {
        Box::pin(take(cx))
    }
}

async fn take(cx: &Context) -> Outcome {
    let failed = |why: &dyn std::fmt::Display| Miss::Failed(why.to_string());
    let pid = cx.process.pid();
    if cx.process.state(READ).await.map_err(|e| failed(&e))?.is_none() {
        let gone = Taken { parts: vec![Part::ProcessGone], ..Taken::default() };
        return Err(Miss::Failed(format!("the QEMU process (pid {pid}) is gone")).with(gone));
    }
    let before = cx.process.threads(READ).await.map_err(|e| failed(&e))?;
    let began = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let after = cx.process.threads(READ).await.map_err(|e| failed(&e))?;
    let window_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);

    let used: HashMap<u32, (u64, u64)> = before.iter().map(|it| (it.tid, (it.cpu_us, it.wait_us))).collect();
    let known: HashMap<u32, u32> =
        cx.vcpu_threads.get().into_iter().flatten().map(|(index, tid)| (*tid, *index)).collect();
    let mut threads: Vec<HostThread> = after
        .into_iter()
        .map(|it| {
            // A thread that came up in between is not known long enough to say anything of it.
            let (cpu, wait) = used.get(&it.tid).copied().unwrap_or((it.cpu_us, it.wait_us));
            HostThread {
                role: match known.get(&it.tid) {
                    Some(index) => ThreadRole::Vcpu(*index),
                    None => role_by_name(pid, it.tid, &it.comm),
                },
                cpu_ms: it.cpu_us.saturating_sub(cpu) / 1000,
                wait_ms: it.wait_us.saturating_sub(wait) / 1000,
                tid: it.tid,
                comm: it.comm,
                state: it.state,
                wchan: None,
                stack: Vec::new(),
            }
        })
        .collect();

    // The ones that matter first, in case there are many workers.
    let mut tids: Vec<(bool, u32)> =
        threads.iter().map(|it| (it.role == ThreadRole::Other, it.tid)).collect();
    tids.sort_unstable();
    let tids: Vec<u32> = tids.into_iter().map(|(_, tid)| tid).take(MAX_STACKS).collect();
    let mut missing = Vec::new();
    match cx.process.places(&tids, READ).await {
        Ok((places, problems)) => {
            missing.extend(problems);
            for place in places {
                if let Some(thread) = threads.iter_mut().find(|it| it.tid == place.tid) {
                    thread.wchan = place.wchan;
                    thread.stack = place.stack;
                }
            }
        }
        Err(why) => missing.push(why.to_string()),
    }
    let rss_kib = match cx.process.file("status", 16 << 10, READ).await {
        Ok(text) => resident(&text),
        Err(why) => {
            missing.push(why.to_string());
            None
        }
    };
    let raw = serde_json::to_value(&threads).map(|it| Raw::json(&it, Sensitivity::Status));
    Ok(Taken {
        parts: vec![Part::Threads(threads, window_ms, rss_kib)],
        raw: raw.into_iter().collect(),
        missing,
        paused_us: 0,
    })
}

/// `VmRSS` of `/proc/PID/status` in KiB.
fn resident(status: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(status).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_size_is_read_in_kib() {
        assert_eq!(resident(b"Name:\tq\nVmRSS:\t   98032 kB\nRssAnon:\t1 kB\n"), Some(98032));
        assert_eq!(resident(b"Name:\tq\n"), None);
    }
}
